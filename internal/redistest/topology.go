package redistest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// MasterName is the name of the master that Sentinels monitor.
const MasterName = "main"

// setupTimeout is the timeout of each condition while a topology is set up.
const setupTimeout = 30 * time.Second

// until waits until done returns true. Its error contains what, the description of the condition.
func until(ctx context.Context, what string, done func(context.Context) bool) error {
	ctx, cancel := context.WithTimeout(ctx, setupTimeout)
	defer cancel()
	for !done(ctx) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w", what, ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}

// startServers starts n servers, each with its own folder under dir. On an error it kills those that it has started.
func startServers(n int, dir, name string, args ...string) ([]*Server, error) {
	var all []*Server
	for i := range n {
		folder := filepath.Join(dir, fmt.Sprint(name, "-", i+1))
		err := os.MkdirAll(folder, 0o700)
		var s *Server
		if err == nil {
			s, err = Start(folder, args...)
		}
		if err != nil {
			KillAll(all)
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// KillAll kills servers.
func KillAll(all []*Server) {
	for _, s := range all {
		s.Kill()
	}
}

// StartReplicas starts n replicas of a server with their data in folders under dir, and waits until they are online. It
// also configures the server to send its data to a new replica without delay.
func StartReplicas(ctx context.Context, n int, dir string, of *Server, args ...string) ([]*Server, error) {
	c := redis.NewClient(&redis.Options{Addr: of.Addr})
	defer c.Close()
	if err := c.ConfigSet(ctx, "repl-diskless-sync-delay", "0").Err(); err != nil {
		return nil, fmt.Errorf("set up the master: %w", err)
	}
	host, port, _ := net.SplitHostPort(of.Addr)
	all, err := startServers(n, dir, "replica", append([]string{"--replicaof", host + " " + port}, args...)...)
	if err != nil {
		return nil, err
	}
	err = until(ctx, "the replicas are online", func(ctx context.Context) bool {
		return strings.Count(c.Info(ctx, "replication").Val(), "state=online") >= n
	})
	if err != nil {
		KillAll(all)
		return nil, err
	}
	return all, nil
}

// StartAt starts a server on an address with the data that a stopped server left in dir.
func StartAt(addr, dir string, args ...string) (*Server, error) {
	s := &Server{Addr: addr, Dir: dir, args: args}
	return s, s.Restart()
}

// Sentinels are three processes that monitor a server as MasterName. They consider it down after one second without an
// answer.
type Sentinels struct {
	Addrs []string // host:port

	clients []*redis.SentinelClient
	cmds    []*exec.Cmd
}

// StartSentinels starts three sentinels with their files in dir, and waits until they have found each other and the
// replicas of the master.
func StartSentinels(ctx context.Context, dir string, master *Server, replicas int) (*Sentinels, error) {
	s := &Sentinels{}
	for i := range 3 {
		if err := s.start(filepath.Join(dir, fmt.Sprintf("sentinel-%d.conf", i+1)), master.Addr); err != nil {
			s.Kill()
			return nil, err
		}
	}
	err := until(ctx, "the sentinels know one another and the replicas", func(ctx context.Context) bool {
		for _, c := range s.clients {
			others, err := c.Sentinels(ctx, MasterName).Result()
			known, rerr := c.Replicas(ctx, MasterName).Result()
			if err != nil || rerr != nil || len(others) != 2 || len(known) != replicas {
				return false
			}
		}
		return true
	})
	if err != nil {
		s.Kill()
		return nil, err
	}
	return s, nil
}

func (s *Sentinels) start(conf, master string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	addr := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(addr)
	host, masterPort, _ := net.SplitHostPort(master)
	text := fmt.Sprintf("port %s\nbind 127.0.0.1\ndir %s\nsentinel monitor %s %s %s 2\n"+
		"sentinel down-after-milliseconds %[3]s 1000\nsentinel failover-timeout %[3]s 3000\n",
		port, filepath.Dir(conf), MasterName, host, masterPort)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return err
	}
	cmd := exec.Command("redis-server", conf, "--sentinel")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start a sentinel: %w", err)
	}
	s.Addrs, s.cmds = append(s.Addrs, addr), append(s.cmds, cmd)
	s.clients = append(s.clients, redis.NewSentinelClient(&redis.Options{Addr: addr}))
	return nil
}

// Master returns the master's address according to the first sentinel, or "".
func (s *Sentinels) Master(ctx context.Context) string {
	addr, _ := s.clients[0].GetMasterAddrByName(ctx, MasterName).Result()
	return strings.Join(addr, ":")
}

// Failover promotes a replica to master (SENTINEL FAILOVER). It returns the new master's address as soon as the first
// sentinel reports it.
func (s *Sentinels) Failover(ctx context.Context) (string, error) {
	before := s.Master(ctx)
	err := until(ctx, "the failover begins", func(ctx context.Context) bool {
		return s.clients[0].Failover(ctx, MasterName).Err() == nil
	})
	if err != nil {
		return "", err
	}
	after := ""
	err = until(ctx, "another server is the master", func(ctx context.Context) bool {
		after = s.Master(ctx)
		return after != "" && after != before
	})
	return after, err
}

// Kill kills the sentinels.
func (s *Sentinels) Kill() {
	for i, cmd := range s.cmds {
		s.clients[i].Close()
		cmd.Process.Kill()
		cmd.Wait()
	}
}

// StartCluster starts a cluster of three masters with a replica each, and their data in folders under dir. It waits
// until the cluster is up. The replicas are last in nodes.
func StartCluster(ctx context.Context, dir string, args ...string) (nodes []*Server, err error) {
	nodes, err = startServers(6, dir, "node", append([]string{
		"--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1",
		"--cluster-node-timeout", "1000", "--repl-diskless-sync-delay", "0",
	}, args...)...)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			KillAll(nodes)
		}
	}()
	var clients []*redis.Client
	for _, n := range nodes {
		c := redis.NewClient(&redis.Options{Addr: n.Addr})
		defer c.Close()
		clients = append(clients, c)
	}
	host, port, _ := net.SplitHostPort(nodes[0].Addr)
	for i, c := range clients {
		if i < 3 {
			err = c.ClusterAddSlotsRange(ctx, i*16384/3, (i+1)*16384/3-1).Err()
		}
		if err == nil && i > 0 {
			// All configuration epochs are 0 at first, but each master needs a different one.
			err = c.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err()
		}
		if err == nil && i > 0 {
			err = c.ClusterMeet(ctx, host, port).Err()
		}
		if err != nil {
			return nil, fmt.Errorf("set up a cluster: %w", err)
		}
	}
	for i, c := range clients[3:] {
		master := clients[i].ClusterMyID(ctx).Val()
		err = until(ctx, "a replica knows its master", func(ctx context.Context) bool {
			return c.ClusterReplicate(ctx, master).Err() == nil
		})
		if err != nil {
			return nil, err
		}
	}
	for i, c := range clients {
		err = until(ctx, "the cluster is up", func(ctx context.Context) bool {
			return strings.Contains(c.ClusterInfo(ctx).Val(), "cluster_state:ok") &&
				strings.Count(c.ClusterNodes(ctx).Val(), "slave ") == 3 &&
				(i > 2 || strings.Contains(c.Info(ctx, "replication").Val(), "state=online"))
		})
		if err != nil {
			return nil, err
		}
	}
	return nodes, nil
}

// AwaitReplica waits until a server is a replica.
func AwaitReplica(ctx context.Context, s *Server) error {
	c := redis.NewClient(&redis.Options{Addr: s.Addr})
	defer c.Close()
	return until(ctx, "the server is a replica", func(ctx context.Context) bool {
		return strings.Contains(c.Info(ctx, "replication").Val(), "role:slave")
	})
}
