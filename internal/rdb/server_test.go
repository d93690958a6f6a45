package rdb_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/needs"
	"tiwsnap/internal/rdb"
	"tiwsnap/internal/redistest"
)

func TestServers(t *testing.T) {
	needs.Time(t)
	onlyServer := func(t *testing.T, c redis.UniversalClient, sections ...string) rdb.Server {
		t.Helper()
		all, err := rdb.Servers(t.Context(), c, sections...)
		if err != nil || len(all) != 1 {
			t.Fatalf("Servers() = %+v, %v, want one server", all, err)
		}
		return all[0]
	}

	t.Run("all sections, or only the requested one", func(t *testing.T) {
		c, _ := open(t, redistest.Real(t, "--appendonly", "yes", "--maxmemory", "50mb").URL())
		s := onlyServer(t, c)
		if s.Addr != "" || s.Version == "" || s.AppendOnly != "yes" || s.AOFBroken {
			t.Errorf("got %+v, want a version and an intact AOF", s)
		}
		if m := s.Memory; m == nil || m.Max != 50<<20 || m.Used < 500_000 || m.Used > 10<<20 {
			t.Errorf("memory is %+v, want 0.5 to 10 MB of 50 MB", m)
		}
		s = onlyServer(t, c, "memory")
		if s.Version != "" || s.AppendOnly != "" || s.Policy != "noeviction" || s.Memory == nil {
			t.Errorf("section memory: got %+v, want only the memory", s)
		}
	})

	t.Run("the buffer of a slow replica does not count as used memory", func(t *testing.T) {
		s := redistest.Real(t)
		c, _ := open(t, s.URL())
		if err := startReplica(t, s).Freeze(); err != nil {
			t.Fatal(err)
		}
		for range 30 {
			if err := c.Set(t.Context(), "k", strings.Repeat("x", 1<<20), 0).Err(); err != nil {
				t.Fatal(err)
			}
		}
		if all, err := strconv.Atoi(c.InfoMap(t.Context(), "memory").Item("Memory", "used_memory")); err != nil ||
			all < 10_000_000 {
			t.Fatalf("used_memory is %d, %v, want the buffer of 10 MB or more in it", all, err)
		}
		if m := onlyServer(t, c).Memory; m.Used <= 0 || m.Used > 9_000_000 {
			t.Errorf("used memory is %d, want up to 9 MB", m.Used)
		}
	})

	t.Run("the embedded Redis reports nothing", func(t *testing.T) {
		c, _ := open(t, redistest.Embedded(t).URL())
		if s := onlyServer(t, c); s != (rdb.Server{}) || s.CheckPolicy() != nil {
			t.Errorf("got %+v, want no data", s)
		}
	})

	t.Run("a server that denies INFO is not unreachable", func(t *testing.T) {
		s := redistest.Real(t, "--user", "worker", "on", ">secret", "~*", "&*", "+@all", "-info")
		c, _ := open(t, "redis://worker:secret@"+s.Addr)
		_, err := rdb.Servers(t.Context(), c)
		var refusal redis.Error
		if !errors.As(err, &refusal) {
			t.Errorf("Servers() = %v, want an error of Redis", err)
		}
		s.Kill()
		if _, err := rdb.Servers(t.Context(), c); err == nil || errors.As(err, &refusal) {
			t.Errorf("server is down: Servers() = %v, want an error that is not of Redis", err)
		}
	})
}

func TestOutOfMemory(t *testing.T) {
	c, _ := open(t, redistest.Real(t, "--maxmemory", "1mb").URL())
	big := strings.Repeat("x", 1<<20)
	c.Set(t.Context(), "k", big, 0)
	for name, err := range map[string]error{
		"a command": c.Set(t.Context(), "l", big, 0).Err(),
		"a script":  redis.NewScript(`redis.call('SET', KEYS[1], ARGV[1])`).Run(t.Context(), c, []string{"l"}, big).Err(),
	} {
		if !rdb.OutOfMemory(err) {
			t.Errorf("OutOfMemory(%v) = false for %s", err, name)
		}
	}
	if rdb.OutOfMemory(nil) || rdb.OutOfMemory(redis.Nil) {
		t.Error("OutOfMemory() = true for another error")
	}
}

// startReplica starts a replica of s and waits until it is online.
func startReplica(t *testing.T, s *redistest.Server) *redistest.Server {
	t.Helper()
	master := redis.NewClient(&redis.Options{Addr: s.Addr})
	defer master.Close()
	if err := master.ConfigSet(t.Context(), "repl-diskless-sync-delay", "0").Err(); err != nil {
		t.Fatal(err)
	}
	host, port, _ := strings.Cut(s.Addr, ":")
	r := redistest.Real(t, "--replicaof", host+" "+port)
	awaitReplicaOnline(t, master)
	return r
}

// awaitReplicaOnline waits until the master has a replica that is online.
func awaitReplicaOnline(t *testing.T, master *redis.Client) {
	t.Helper()
	redistest.Until(t, "the replica is online", func() bool {
		return strings.Contains(master.Info(t.Context(), "replication").Val(), "state=online")
	})
}

func TestAwaitReplica(t *testing.T) {
	needs.Time(t)
	awaitReplicas := func(t *testing.T, c redis.UniversalClient, key string) (found bool, n int, took time.Duration) {
		t.Helper()
		begin := time.Now()
		found, n, err := rdb.AwaitReplicas(t.Context(), c, key, "{t}:marker", 1, 2*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		return found, n, time.Since(begin)
	}

	t.Run("a replica has a key of another connection", func(t *testing.T) {
		s := redistest.Real(t)
		startReplica(t, s)
		writer, _ := open(t, s.URL())
		c, _ := open(t, s.URL())
		if err := writer.Set(t.Context(), "{t}:k", "v", 0).Err(); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if found, n, _ := awaitReplicas(t, c, "{t}:k"); !found || n != 1 {
				t.Errorf("AwaitReplicas() = %v, %d, want true, 1", found, n)
			}
		}
		if found, _, _ := awaitReplicas(t, c, "{t}:other"); found {
			t.Error("AwaitReplicas() found a key that does not exist")
		}
	})

	t.Run("a frozen replica does not have it, even on the second call", func(t *testing.T) {
		s := redistest.Real(t)
		r := startReplica(t, s)
		c, _ := open(t, s.URL())
		if err := r.Freeze(); err != nil {
			t.Fatal(err)
		}
		if err := c.Set(t.Context(), "{t}:k", "v", 0).Err(); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if found, n, took := awaitReplicas(t, c, "{t}:k"); !found || n != 0 || took < 400*time.Millisecond {
				t.Errorf("AwaitReplicas() = %v, %d after %s, want true, 0 after 0.4 s or more", found, n, took)
			}
		}
		if err := r.Thaw(); err != nil {
			t.Fatal(err)
		}
		redistest.Until(t, "the replica has the key", func() bool {
			_, n, _ := awaitReplicas(t, c, "{t}:k")
			return n == 1
		})
	})

	t.Run("a server without replicas", func(t *testing.T) {
		c, _ := open(t, redistest.Real(t).URL())
		if _, n, _ := awaitReplicas(t, c, "{t}:k"); n != 0 {
			t.Errorf("AwaitReplicas() has %d replicas, want 0", n)
		}
	})

	t.Run("on a cluster the master of the key is used", func(t *testing.T) {
		var nodes []*redis.Client
		for range 3 {
			s := redistest.Real(t, "--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1",
				"--repl-diskless-sync-delay", "0")
			c := redis.NewClient(&redis.Options{Addr: s.Addr})
			defer c.Close()
			nodes = append(nodes, c)
		}
		masters, follower := nodes[:2], nodes[2]
		// The slot of {t} is in the upper half. The master of that half has the replica.
		for i, slots := range [][2]int{{0, 8191}, {8192, 16383}} {
			if err := masters[i].ClusterAddSlotsRange(t.Context(), slots[0], slots[1]).Err(); err != nil {
				t.Fatal(err)
			}
		}
		if slot := masters[0].ClusterKeySlot(t.Context(), "{t}:k").Val(); slot < 8192 {
			t.Fatalf("the slot of {t}:k is %d, want 8192 or more", slot)
		}
		addr := masters[0].Options().Addr
		host, port, _ := strings.Cut(addr, ":")
		for _, c := range nodes[1:] {
			if err := c.ClusterMeet(t.Context(), host, port).Err(); err != nil {
				t.Fatal(err)
			}
		}
		id := masters[1].ClusterMyID(t.Context()).Val()
		redistest.Until(t, "the replica knows its master",
			func() bool { return follower.ClusterReplicate(t.Context(), id).Err() == nil })
		awaitReplicaOnline(t, masters[1])
		redistest.Until(t, "the cluster is up", func() bool {
			return strings.Contains(masters[0].ClusterInfo(t.Context()).Val(), "cluster_state:ok") &&
				strings.Contains(masters[1].ClusterInfo(t.Context()).Val(), "cluster_state:ok")
		})
		c, err := open(t, "redis+cluster://"+addr)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Set(t.Context(), "{t}:k", "v", 0).Err(); err != nil {
			t.Fatal(err)
		}
		if found, n, _ := awaitReplicas(t, c, "{t}:k"); !found || n != 1 {
			t.Errorf("AwaitReplicas() = %v, %d, want true, 1", found, n)
		}
		servers, err := rdb.Servers(t.Context(), c)
		if err != nil || len(servers) != 2 || servers[0].Addr == servers[1].Addr || servers[0].Version == "" {
			t.Errorf("Servers() = %+v, %v, want two masters", servers, err)
		}
	})
}
