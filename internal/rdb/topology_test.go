package rdb_test

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/tiw/tiwtest"
)

// succeeded returns the number of snapshots of a batch that have succeeded, or -1 if Redis does not respond.
func (p *product) succeeded(batch string) int {
	p.Helper()
	status, body := p.send("GET", "/v1/batches/"+batch)
	var got struct{ Succeeded int }
	if status != http.StatusOK || json.Unmarshal([]byte(body), &got) != nil {
		return -1
	}
	return got.Succeeded
}

// runBatchDuring enqueues a batch that takes four seconds, calls fault in the middle, and waits until all snapshots
// have succeeded.
func (p *product) runBatchDuring(name string, fault func()) {
	p.Helper()
	const rooms = 80
	p.mustRun("enqueue", "batch", p.list(rooms), "--name", name)
	redistest.Until(p.T, "the batch is in progress", func() bool { return p.succeeded(name) > 5 })
	fault()
	redistest.Until(p.T, "the batch has succeeded", func() bool { return p.succeeded(name) == rooms })
	if peak := p.sim.State().Actions[tiwtest.ActionCreate].Received.SlidingSecond.Requests; peak > 20 {
		p.Errorf("peak second has %d requests, want at most 20", peak)
	}
}

func TestCluster(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	needs.Program(t, "redis-server")
	nodes, err := redistest.StartCluster(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { redistest.KillAll(nodes) })
	single := newProduct(t, "redis://"+nodes[0].Addr)
	for _, args := range [][]string{{"doctor", "--skip-tiw"}, {"worker"}} {
		code, out := single.run(args...)
		if code != 69 || !strings.Contains(out, "MOVED ") || !strings.Contains(out, "redis+cluster://") {
			t.Errorf("%v on a single node: exit code %d, want 69 and the URL form for clusters\n%s", args, code, out)
		}
	}

	p := newProduct(t, "redis+cluster://"+nodes[1].Addr+","+nodes[0].Addr)
	p.start("worker")
	c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{nodes[2].Addr}})
	t.Cleanup(func() { c.Close() })
	master := func() *redis.Client {
		m, err := c.MasterForKey(t.Context(), "{tiwsnap}:batches")
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	// A replica that lags behind takes over, as if its master had died. The data that it lacks are lost.
	p.runBatchDuring("taken-over", func() {
		var replica *redis.Client
		for _, n := range nodes {
			r := redis.NewClient(&redis.Options{Addr: n.Addr})
			t.Cleanup(func() { r.Close() })
			if strings.Contains(r.Info(t.Context(), "replication").Val(), "master_port:"+port(master().Options().Addr)+"\r") {
				replica = r
			}
		}
		if replica == nil {
			t.Fatal("the master has no replica")
		}
		do := func(args ...any) {
			if err := replica.Do(t.Context(), args...).Err(); err != nil {
				t.Fatal(err)
			}
		}
		do("config", "set", "masteruser", "nobody", "masterauth", "wrong")
		do("client", "kill", "type", "master")
		have := p.succeeded("taken-over")
		redistest.Until(t, "the replica is behind", func() bool { return p.succeeded("taken-over") >= have+20 })
		do("cluster", "failover", "takeover")
		do("config", "set", "masteruser", "", "masterauth", "")
		redistest.Until(t, "another node is the master", func() bool {
			c.ReloadState(t.Context())
			return master().Options().Addr == replica.Options().Addr
		})
	})
	redistest.Until(t, "the old master is a replica", func() bool {
		return strings.Contains(master().Info(t.Context(), "replication").Val(), "state=online")
	})
	p.runBatchDuring("killed", func() {
		addr := master().Options().Addr
		for _, n := range nodes {
			if n.Addr == addr {
				n.Kill()
			}
		}
	})
	p.awaitTasksAccounted("taken-over", "killed")
}

func port(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}

// awaitTasksAccounted waits until each task of the simulator belongs to a snapshot of the batches or is counted as an
// extra task. It returns the number of extra tasks.
func (p *product) awaitTasksAccounted(batches ...string) int {
	p.Helper()
	rooms, tasks := 0, 0
	for _, batch := range batches {
		rooms += p.succeeded(batch)
	}
	for range p.sim.Tasks() {
		tasks++
	}
	// A worker restores lost records that it knows within two seconds.
	redistest.Until(p.T, "every task is accounted for", func() bool { return rooms+p.extra() == tasks })
	p.Logf("%d tasks for %d rooms", tasks, rooms)
	return tasks - rooms
}

// extra returns the number of extra tasks that tiwsnap has counted.
func (p *product) extra() int {
	p.Helper()
	_, text := p.send("GET", "/metrics")
	m := regexp.MustCompile(`(?m)^tiwsnap_extra_tasks_total(?:\{.*\})? (\d+)$`).FindStringSubmatch(text)
	if m == nil {
		return -1
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		p.Fatal(err)
	}
	return n
}

// A failover during a batch loses the data that the promoted replica lacks. Every duplicate task that results is
// counted. The settings of docs/redis.md for durability prevent such duplicates.
func TestSentinel(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	for _, durability := range []string{"local", "replicated"} {
		t.Run(durability, func(t *testing.T) {
			t.Parallel()
			testFailovers(t, durability)
		})
	}
}

func testFailovers(t *testing.T, durability string) {
	first := redistest.Real(t)
	servers := []*redistest.Server{first, startReplica(t, first), startReplica(t, first)}
	if durability == "replicated" {
		for _, s := range servers {
			c := redis.NewClient(&redis.Options{Addr: s.Addr})
			t.Cleanup(func() { c.Close() })
			for name, value := range replicaSettings(t) {
				if err := c.ConfigSet(t.Context(), name, value).Err(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	sentinels, err := redistest.StartSentinels(t.Context(), t.TempDir(), first, 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sentinels.Kill)
	p := newProduct(t, "redis+sentinel://"+strings.Join(sentinels.Addrs, ",")+"/"+redistest.MasterName+"/0")
	p.environ = append(p.environ, "TIWSNAP_REDIS_DURABILITY="+durability)
	p.start("worker")
	second := ""
	p.runBatchDuring("planned", func() {
		if second, err = sentinels.Failover(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	c := redis.NewClient(&redis.Options{Addr: second})
	t.Cleanup(func() { c.Close() })
	redistest.Until(t, "both replicas are online", func() bool {
		return strings.Count(c.Info(t.Context(), "replication").Val(), "state=online") == 2
	})
	p.runBatchDuring("killed", func() {
		for _, s := range servers {
			if s.Addr == second {
				s.Kill()
			}
		}
		redistest.Until(t, "another node is the master", func() bool {
			now := sentinels.Master(t.Context())
			return now != "" && now != second
		})
	})
	if extra := p.awaitTasksAccounted("planned", "killed"); durability == "replicated" && extra != 0 {
		t.Errorf("%d extra tasks with replicated durability, want none", extra)
	}
}

// replicaSettings returns the settings of Redis that docs/redis.md recommends against extra tasks.
func replicaSettings(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/redis.md")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^(min-replicas-\S+) (\d+)$`).FindAllStringSubmatch(string(text), -1) {
		all[m[1]] = m[2]
	}
	if len(all) != 2 {
		t.Fatalf("docs/redis.md has the settings %v, want two", all)
	}
	return all
}
