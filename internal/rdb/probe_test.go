package rdb_test

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/needs"
	"tiwsnap/internal/rdb"
	"tiwsnap/internal/redistest"
)

// Each failure of Redis has its own error message and its own fix.
func TestProbe(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	userURL := func(t *testing.T, rights ...string) string {
		s := redistest.Real(t, append([]string{"--user", "worker", "on", ">secret"}, rights...)...)
		return "redis://worker:secret@" + s.Addr
	}
	for _, test := range []struct {
		name      string
		url       func(t *testing.T) string
		want, fix string // empty: no error
	}{
		{"a server", func(t *testing.T) string { return redistest.Real(t).URL() }, "", ""},
		{"embedded", func(t *testing.T) string { return redistest.Embedded(t).URL() }, "", ""},
		{"a full server", func(t *testing.T) string {
			s := redistest.Real(t)
			c, _ := open(t, s.URL())
			if err := c.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
				t.Fatal(err)
			}
			return s.URL()
		}, "", ""},
		{"no scripts", func(t *testing.T) string { return userURL(t, "~*", "&*", "+@all", "-eval", "-evalsha") },
			"NOPERM", "docs/redis.md"},
		{"no rights on the keys", func(t *testing.T) string { return userURL(t, "~other:*", "&*", "+@all") },
			"NOPERM", "docs/redis.md"},
		{"missing commands", func(t *testing.T) string { return userURL(t, "~*", "&*", "+@all", "-zadd", "-hset") },
			"NOPERM this user may not run HSET, ZADD on {t}:probe", "docs/redis.md"},
		{"a wrong password", func(t *testing.T) string {
			return strings.Replace(userURL(t, "~*", "+@all"), "secret@", "guess@", 1)
		}, "WRONGPASS", "correct the user and the password"},
		{"no password", func(t *testing.T) string { return redistest.Real(t, "--requirepass", "secret").URL() },
			"NOAUTH", "put the password into TIWSNAP_REDIS_URL"},
		{"a cluster that is down", func(t *testing.T) string {
			s := redistest.Real(t, "--cluster-enabled", "yes")
			c, _ := open(t, s.URL())
			if err := c.(*redis.Client).ClusterAddSlotsRange(t.Context(), 0, 16383).Err(); err != nil {
				t.Fatal(err)
			}
			slot := int(c.ClusterKeySlot(t.Context(), "{t}:probe").Val())
			if err := c.Do(t.Context(), "CLUSTER", "DELSLOTS", slot).Err(); err != nil {
				t.Fatal(err)
			}
			return s.URL()
		}, "CLUSTERDOWN", "redis-cli --cluster check"},
		{"a replica", func(t *testing.T) string { return startReplica(t, redistest.Real(t)).URL() },
			"READONLY", "the URL of the master"},
		{"too few replicas", func(t *testing.T) string { return redistest.Real(t, "--min-replicas-to-write", "1").URL() },
			"NOREPLICAS", "start the replicas"},
		{"a full disk", func(t *testing.T) string { return startMisconf(t).URL() }, "MISCONF",
			"free or repair the disk"},
		{"TLS is required", func(t *testing.T) string {
			addr := newAuthority(t).tlsServer(t, loopback)
			return "redis://" + addr
		}, "the server requires TLS on this port", "begin the URL with rediss://"},
		{"TLS is not supported", func(t *testing.T) string {
			return "rediss://" + redistest.Real(t).Addr + "?dial_timeout=500ms&max_retries=-1"
		},
			"the server does not use TLS", "begin the URL with redis://"},
		{"protected mode", func(t *testing.T) string {
			s := redistest.Real(t, "--bind", "* -::*", "--protected-mode", "yes")
			_, port, _ := net.SplitHostPort(s.Addr)
			return "redis://" + net.JoinHostPort(externalIP(t), port)
		}, "DENIED Redis is running in protected mode", "set a password in Redis"},
		{"another protocol", func(t *testing.T) string {
			s := httptest.NewServer(http.NotFoundHandler())
			t.Cleanup(s.Close)
			return "redis://" + s.Listener.Addr().String()
		}, "can't parse", "does not speak the protocol of Redis"},
		{"a closed port", func(t *testing.T) string { return "redis://127.0.0.1:" + freePort(t) },
			"connection refused", "start Redis there"},
		{"a master name that the sentinels do not know", func(t *testing.T) string {
			return "redis+sentinel://" + startSentinel(t, redistest.Real(t).Addr) + "/other?sentinel_password=watch"
		}, "the sentinels know no master of that name", "SENTINEL MASTERS"},
		{"a sentinel with a password", func(t *testing.T) string {
			return "redis+sentinel://" + startSentinel(t, redistest.Real(t).Addr) + "/main"
		}, "NOAUTH", "sentinel_password"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			url := test.url(t)
			c, closeRedis, err := rdb.Open(url)
			if err != nil {
				t.Fatal(err)
			}
			defer closeRedis()
			err = rdb.Probe(t.Context(), c, url, "{t}:probe")
			checkError(t, err, test.want, test.fix)
			if err == nil && c.Exists(t.Context(), "{t}:probe").Val() != 0 {
				t.Error("Probe() does not delete its key")
			}
		})
	}
}

// checkError checks that the error contains want and its fix contains fix. If want is empty, err must be nil.
func checkError(t *testing.T, err error, want, fix string) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Error(err)
		}
		return
	}
	if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(rdb.Fix(err), fix) {
		t.Errorf("got  %v; %s\nwant %s; %s", err, rdb.Fix(err), want, fix)
	}
}

// startMisconf starts a server that cannot save and therefore rejects writes (MISCONF).
func startMisconf(t *testing.T) *redistest.Server {
	t.Helper()
	s := redistest.Real(t, "--save", "3600 1")
	c := redis.NewClient(&redis.Options{Addr: s.Addr})
	defer c.Close()
	if err := c.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	breakDisk(t, s)
	return s
}

// breakDisk makes a server with save points reject writes, because it cannot save them.
func breakDisk(t *testing.T, s *redistest.Server) {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: s.Addr})
	defer c.Close()
	if err := os.RemoveAll(s.Dir); err != nil {
		t.Fatal(err)
	}
	c.BgSave(t.Context())
	redistest.Until(t, "the server rejects writes",
		func() bool { return rdb.Misconf(c.Set(t.Context(), "k", "v", 0).Err()) })
}

// externalIP returns an IPv4 address of this machine that is not loopback.
func externalIP(t *testing.T) string {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok && !ip.IP.IsLoopback() && ip.IP.To4() != nil {
			return ip.IP.String()
		}
	}
	needs.Skip(t, "no address except loopback on this machine")
	return ""
}

func TestPingWhileRedisCannotSave(t *testing.T) {
	t.Parallel()
	s := startMisconf(t)
	c, err := open(t, s.URL())
	if err != nil {
		t.Errorf("Ping() = %v, want nil", err)
	}
	if v, err := c.Get(t.Context(), "k").Result(); err != nil || v != "v" {
		t.Errorf("GET k = %q, %v, want v", v, err)
	}
	var refusal redis.Error
	if err := rdb.Probe(t.Context(), c, s.URL(), "probe"); !errors.As(err, &refusal) || !rdb.Misconf(err) {
		t.Errorf("Probe() = %v, want MISCONF", err)
	}
}
