package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/keys"
	"tiwsnap/internal/redistest"
	"tiwsnap/internal/testbed"
)

// The settings of TIWSNAP_REDIS_DURABILITY.
const (
	local      = "local"
	replicated = "replicated"
)

// appendOnly are the arguments with which docs/redis.md runs Redis.
var appendOnly = []string{"--appendonly", "yes", "--appendfsync", "everysec"}

// failover breaks the Redis of an installation in mid-batch. It returns the period of writes that may be lost.
type failover func(context.Context) (span, error)

// through runs a batch through a failover. With the durability replicated each intent is on a replica before its
// request is sent, so every extra task is counted. With local some are not counted, except those whose callback a
// worker receives.
func (s *stage) through(ctx context.Context, redisURL, durability string, breaks failover) ([]*report, error) {
	dir, err := s.folder("a")
	if err != nil {
		return nil, err
	}
	bed, err := testbed.On(redisURL, dir, s.binary)
	if err != nil {
		return nil, err
	}
	in, err := s.install(bed, keys.Default, "TIWSNAP_REDIS_DURABILITY="+durability)
	if err != nil {
		return nil, err
	}
	defer in.close()
	s.begin()
	if err := in.enqueue(ctx); err != nil {
		return nil, err
	}
	if err := in.sent(ctx, 0.2+0.5*random(s.seed, s.name).Float64()); err != nil {
		return nil, err
	}
	lost, err := breaks(ctx)
	if err != nil {
		return nil, err
	}
	s.log("failover", "took %s", lost.to.Sub(lost.from).Round(time.Millisecond))
	in.follow(ctx)
	r, err := in.finish(ctx, evidence{lost: &lost, intents: durability == replicated})
	if err != nil {
		return nil, err
	}
	return []*report{r}, nil
}

// staleLag is how long a replica is disconnected before it is promoted.
const staleLag = 2 * time.Second

// staleReplica disconnects the only replica of a master for some time, kills the master, and gives its address to the
// replica. Another replica follows it then.
func staleReplica(durability string) func(context.Context, *stage) ([]*report, error) {
	return func(ctx context.Context, s *stage) ([]*report, error) {
		dir, err := s.folder("redis")
		if err != nil {
			return nil, err
		}
		master, err := redistest.Start(dir, appendOnly...)
		if err != nil {
			return nil, err
		}
		defer func() { master.Kill() }()
		replicas, err := redistest.StartReplicas(ctx, 1, dir, master, appendOnly...)
		if err != nil {
			return nil, err
		}
		defer func() { redistest.KillAll(replicas) }()
		return s.through(ctx, master.URL(), durability, func(ctx context.Context) (lost span, err error) {
			old := replicas[0]
			c := redis.NewClient(&redis.Options{Addr: old.Addr})
			defer c.Close()
			lost.from = time.Now()
			if err := c.ReplicaOf(ctx, "NO", "ONE").Err(); err != nil {
				return lost, fmt.Errorf("cut the replica off: %w", err)
			}
			s.log(faultStale, "the replica is disconnected for %s, then promoted", staleLag)
			pause(ctx, staleLag)
			master.Kill()
			old.Kill() // what it has is in its append-only file
			lost.to = time.Now()
			if master, err = redistest.StartAt(master.Addr, old.Dir, appendOnly...); err != nil {
				return lost, err
			}
			replicas, err = redistest.StartReplicas(ctx, 1, master.Dir, master, appendOnly...)
			return lost, err
		})
	}
}

// plannedFailover makes a replica the master by SENTINEL FAILOVER.
func plannedFailover(durability string) func(context.Context, *stage) ([]*report, error) {
	return func(ctx context.Context, s *stage) ([]*report, error) {
		dir, err := s.folder("redis")
		if err != nil {
			return nil, err
		}
		master, err := redistest.Start(dir, appendOnly...)
		if err != nil {
			return nil, err
		}
		defer master.Kill()
		replicas, err := redistest.StartReplicas(ctx, 2, dir, master, appendOnly...)
		if err != nil {
			return nil, err
		}
		defer redistest.KillAll(replicas)
		sentinels, err := redistest.StartSentinels(ctx, dir, master, len(replicas))
		if err != nil {
			return nil, err
		}
		defer sentinels.Kill()
		url := "redis+sentinel://" + strings.Join(sentinels.Addrs, ",") + "/" + redistest.MasterName + "/0"
		return s.through(ctx, url, durability, func(ctx context.Context) (lost span, err error) {
			s.log(faultFailover, "begins")
			lost.from = time.Now()
			if _, err := sentinels.Failover(ctx); err != nil {
				return lost, err
			}
			// Until the old master follows the new one it accepts writes, which are lost.
			err = redistest.AwaitReplica(ctx, master)
			lost.to = time.Now()
			return lost, err
		})
	}
}

// clusterMasterKilled kills the master of a Cluster that has the namespace.
func clusterMasterKilled(durability string) func(context.Context, *stage) ([]*report, error) {
	return func(ctx context.Context, s *stage) ([]*report, error) {
		dir, err := s.folder("redis")
		if err != nil {
			return nil, err
		}
		nodes, err := redistest.StartCluster(ctx, dir, appendOnly...)
		if err != nil {
			return nil, err
		}
		defer redistest.KillAll(nodes)
		url := "redis+cluster://" + nodes[0].Addr + "," + nodes[1].Addr + "," + nodes[2].Addr
		return s.through(ctx, url, durability, func(ctx context.Context) (lost span, err error) {
			c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{nodes[0].Addr, nodes[1].Addr}})
			defer c.Close()
			key := keys.Default.Batches()
			master, err := c.MasterForKey(ctx, key)
			if err != nil {
				return lost, err
			}
			lost.from = time.Now()
			addr := master.Options().Addr
			killed := nodes[slices.IndexFunc(nodes, func(n *redistest.Server) bool { return n.Addr == addr })]
			killed.Kill()
			s.log(faultCluster, "master %s is killed", addr)
			for pause(ctx, 20*time.Millisecond) {
				c.ReloadState(ctx)
				if now, err := c.MasterForKey(ctx, key); err == nil && now.Options().Addr != addr {
					break
				}
			}
			lost.to = time.Now()
			// It returns as the only replica of the new master. With the durability replicated nothing is sent before.
			return lost, errors.Join(killed.Restart(), ctx.Err())
		})
	}
}
