package rdb_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"tiwsnap/internal/needs"
	"tiwsnap/internal/rdb"
	"tiwsnap/internal/redistest"
)

// open opens a client until the test ends, and returns the error of a ping.
func open(t *testing.T, url string) (redis.UniversalClient, error) {
	t.Helper()
	c, closeRedis, err := rdb.Open(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := closeRedis(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return c, rdb.Ping(t.Context(), c, url)
}

// setAndGet fails the test unless the client can write and read.
func setAndGet(t *testing.T, c redis.UniversalClient) {
	t.Helper()
	if err := c.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Get(t.Context(), "k").Result(); err != nil || got != "v" {
		t.Errorf("GET k = %q, %v, want v", got, err)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// startSentinel starts a sentinel that monitors the server at addr as "main", and returns its address. The password of
// the sentinel itself is "watch".
func startSentinel(t *testing.T, addr string) string {
	t.Helper()
	host, masterPort, _ := net.SplitHostPort(addr)
	port := freePort(t)
	conf := filepath.Join(t.TempDir(), "sentinel.conf")
	text := fmt.Sprintf("port %s\nbind 127.0.0.1\nrequirepass watch\nsentinel monitor main %s %s 1\n", port,
		host, masterPort)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("redis-server", conf, "--sentinel")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	c := redis.NewSentinelClient(&redis.Options{Addr: "127.0.0.1:" + port, Password: "watch"})
	defer c.Close()
	redistest.Until(t, "the sentinel responds", func() bool { return c.Ping(t.Context()).Err() == nil })
	return "127.0.0.1:" + port
}

func TestOpen(t *testing.T) {
	needs.Time(t)
	t.Run("a server, with database and client name", func(t *testing.T) {
		s := redistest.Real(t)
		c, err := open(t, "redis://"+s.Addr+"/3")
		if err != nil {
			t.Fatal(err)
		}
		setAndGet(t, c)
		info, err := c.ClientInfo(t.Context()).Result()
		if err != nil {
			t.Fatal(err)
		}
		if info.Name != "tiwsnap" || info.DB != 3 {
			t.Errorf("the connection has name %q and database %d, want tiwsnap and 3", info.Name, info.DB)
		}
	})

	t.Run("a Unix socket", func(t *testing.T) {
		socket := filepath.Join(t.TempDir(), "redis.sock")
		redistest.Real(t, "--unixsocket", socket)
		c, err := open(t, "unix://"+socket)
		if err != nil {
			t.Fatal(err)
		}
		setAndGet(t, c)
	})

	t.Run("a user with an escaped password", func(t *testing.T) {
		s := redistest.Real(t, "--user", "worker", "on", ">p@ss:w/rd", "~*", "&*", "+@all")
		c, err := open(t, "redis://worker:p%40ss%3Aw%2Frd@"+s.Addr)
		if err != nil {
			t.Fatal(err)
		}
		setAndGet(t, c)
		if who, err := c.Do(t.Context(), "ACL", "WHOAMI").Text(); err != nil || who != "worker" {
			t.Errorf("logged in as %q, %v, want worker", who, err)
		}
	})

	t.Run("TLS, with certificate verification", func(t *testing.T) {
		addr := newAuthority(t).tlsServer(t, loopback, "--tls-auth-clients", "no")
		c, err := open(t, "rediss://"+addr+"?skip_verify=true")
		if err != nil {
			t.Fatal(err)
		}
		setAndGet(t, c)
		if _, err := open(t, "rediss://"+addr); err == nil || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("without skip_verify: got %v, want a certificate error", err)
		}
	})

	t.Run("a cluster", func(t *testing.T) {
		s := redistest.Real(t, "--cluster-enabled", "yes")
		direct := redis.NewClient(&redis.Options{Addr: s.Addr})
		defer direct.Close()
		if err := direct.ClusterAddSlotsRange(t.Context(), 0, 16383).Err(); err != nil {
			t.Fatal(err)
		}
		redistest.Until(t, "the cluster is up", func() bool {
			return strings.Contains(direct.ClusterInfo(t.Context()).Val(), "cluster_state:ok")
		})
		// The first host is down, so the second one must be used.
		c, err := open(t, "redis+cluster://127.0.0.1:"+freePort(t)+","+s.Addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := c.(*redis.ClusterClient); !ok {
			t.Errorf("Open() = %T, want a ClusterClient", c)
		}
		setAndGet(t, c)
	})

	t.Run("the master of a sentinel, with separate passwords", func(t *testing.T) {
		s := redistest.Real(t, "--user", "worker", "on", ">secret", "~*", "&*", "+@all")
		sentinel := startSentinel(t, s.Addr)
		c, err := open(t, "redis+sentinel://worker:secret@"+sentinel+"/main/2?sentinel_password=watch")
		if err != nil {
			t.Fatal(err)
		}
		setAndGet(t, c)
		info, err := c.ClientInfo(t.Context()).Result()
		if err != nil {
			t.Fatal(err)
		}
		if info.User != "worker" || info.DB != 2 {
			t.Errorf("logged in as %q in database %d, want worker and 2", info.User, info.DB)
		}
	})
}

func TestInvalidURLs(t *testing.T) {
	for _, test := range []struct{ url, want string }{
		{"embedded", "embedded is a Redis inside one process, which no other process can reach; give the URL of a server"},
		{"", "it must be embedded, or begin with redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://"},
		{"127.0.0.1:6379",
			"it must be embedded, or begin with redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://"},
		{"http://127.0.0.1:6379",
			"it must be embedded, or begin with redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://"},
		{"redis://h/first", `redis: invalid database number: "first"`},
		{"redis://h?pool=3", "redis: unexpected option: pool"},
		{"redis://u:S3CR3T#x@h",
			"there is an @ after the host (in a password, write @ : / ? # % as %40 %3A %2F %3F %23 %25)"},
		{"redis://u:S3%CR3T@h", "it is not a URL (in a password, write @ : / ? # % as %40 %3A %2F %3F %23 %25)"},
		{"redis://h:S3CR3T", "the port is not a number (in a password, write @ : / ? # % as %40 %3A %2F %3F %23 %25)"},
		{"unix://", "redis: empty unix socket path"},
		{"redis+sentinel://h1,h2", "the name of the sentinels' master is missing: redis+sentinel://HOST/MASTER/DB"},
		{"redis+sentinel://h1,/main", "a host name is missing"},
		{"redis+sentinel://h1,h2:x/main",
			"the port is not a number (in a password, write @ : / ? # % as %40 %3A %2F %3F %23 %25)"},
		{"redis+cluster://h1,h2/3", `it names database "3", but a cluster has no databases`},
	} {
		t.Run(test.url, func(t *testing.T) {
			_, _, err := rdb.Open(test.url)
			if err == nil {
				t.Fatal("Open() accepts the URL")
			}
			if diff := cmp.Diff(test.want, err.Error()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if err := rdb.Check(test.url); test.url != rdb.Embedded && (err == nil || err.Error() != test.want) {
				t.Errorf("Check() = %v, want the error of Open()", err)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	for _, url := range []string{
		"embedded",
		"redis://h",
		"redis://:pw@h:6380/1",
		"rediss://user:pw@[::1]:6379/0?pool_size=5",
		"unix:///run/redis.sock?db=2",
		"redis+sentinel://h1/main",
		"redis+sentinel://u:p@h1:26380,h2,[::1]/main/1?sentinel_username=s&sentinel_password=p",
		"rediss+sentinel://h1,h2/main/0",
		"redis+cluster://u:p@h1,h2:7000,h3?read_timeout=1s",
		"rediss+cluster://h1/0",
	} {
		if err := rdb.Check(url); err != nil {
			t.Errorf("Check(%s) = %v, want nil", url, err)
		}
	}
}

func TestPingErrors(t *testing.T) {
	needs.Time(t)
	t.Run("connection refused", func(t *testing.T) {
		port := freePort(t)
		_, err := open(t, "redis://user:S3CR3T@127.0.0.1:"+port+"/0")
		want := "redis at redis://user:***@127.0.0.1:" + port + "/0 does not answer: dial tcp 127.0.0.1:" + port +
			": connect: connection refused"
		if err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	})

	t.Run("wrong password", func(t *testing.T) {
		s := redistest.Real(t)
		_, err := open(t, "redis://user:S3CR3T@"+s.Addr)
		want := "redis at redis://user:***@" + s.Addr +
			" refuses to serve: WRONGPASS invalid username-password pair or user is disabled."
		if err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	})

	t.Run("unresponsive server, until the context's deadline", func(t *testing.T) {
		s := redistest.Real(t)
		if err := s.Freeze(); err != nil {
			t.Fatal(err)
		}
		defer s.Thaw()
		c, closeRedis, err := rdb.Open(s.URL())
		if err != nil {
			t.Fatal(err)
		}
		defer closeRedis()
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		begin := time.Now()
		if err := rdb.Ping(ctx, c, s.URL()); err == nil || !strings.Contains(err.Error(), "does not answer") {
			t.Errorf("Ping() = %v, want that Redis does not answer", err)
		}
		if d := time.Since(begin); d > 2*time.Second {
			t.Errorf("Ping() took %v, want about 0.2 s", d)
		}
	})
}

func TestRedact(t *testing.T) {
	for in, want := range map[string]string{
		"embedded":                              "embedded",
		"redis://127.0.0.1:6379/0":              "redis://127.0.0.1:6379/0",
		"redis://u:p@h/0":                       "redis://u:***@h/0",
		"redis://:p@h/0":                        "redis://:***@h/0",
		"redis://p@h/0":                         "redis://***@h/0",
		"u:p@h:6379":                            "u:***@h:6379",
		"redis://u:a/b@c@h/0":                   "redis://u:***@h/0",
		"redis+sentinel://u:p@h1,h2/main/0":     "redis+sentinel://u:***@h1,h2/main/0",
		"redis://h/m?sentinel_password=p&db=1":  "redis://h/m?sentinel_password=***&db=1",
		"unix://u:p@/run/redis.sock?db=1":       "unix://u:***@/run/redis.sock?db=1",
		"rediss+cluster://u:p@[::1]:6379,h2:70": "rediss+cluster://u:***@[::1]:6379,h2:70",
	} {
		if got := rdb.Redact(in); got != want {
			t.Errorf("Redact(%s) = %s, want %s", in, got, want)
		}
	}
}

// No error message contains the password, even if the URL is not escaped correctly.
func TestPasswordIsRedacted(t *testing.T) {
	scheme := rapid.SampledFrom([]string{
		"redis://", "rediss://", "redis+cluster://", "redis+sentinel://", "redi://", "unix://", "",
	})
	user := rapid.StringMatching(`[a-z@/%?#,]{0,4}`)
	piece := rapid.OneOf(rapid.StringMatching(`[a-z0-9@:/?#%&=,\[\]]{0,6}`), rapid.String())
	tail := rapid.SampledFrom([]string{"h", "h:6379/0", "h1,h2/main/0", "h?db=1", "[::1]:6379"})
	rapid.Check(t, func(t *rapid.T) {
		url := scheme.Draw(t, "scheme") + user.Draw(t, "user") + ":" +
			piece.Draw(t, "before") + "S3CR3T" + piece.Draw(t, "after") + "@" + tail.Draw(t, "tail")
		if s := rdb.Redact(url); strings.Contains(s, "S3CR3T") {
			t.Errorf("Redact() = %s, which contains the password", s)
		}
		if err := rdb.Check(url); err != nil && strings.Contains(err.Error(), "S3CR3T") {
			t.Errorf("Check() = %v, which contains the password", err)
		}
	})
}
