package rdb

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// AwaitReplicas waits at most timeout until needed replicas have key as it is on the master now, and returns how many
// have it. found is false if the master does not have key, for example because a failover lost it. Errors are those of
// Redis.
//
// The caller can use any connection and may have written key long ago. On one connection AwaitReplicas checks that key
// exists, writes marker, and waits until replicas have that write (WAIT). A replica applies all writes in order, so it
// has key, too. marker expires after a second. On a cluster key and marker must have the same hash tag.
func AwaitReplicas(
	ctx context.Context, c redis.UniversalClient, key, marker string, needed int, timeout time.Duration,
) (found bool, replicas int, err error) {
	node, err := Master(ctx, c, key)
	if err != nil {
		return false, 0, err
	}
	pipe := node.Pipeline() // on one connection, also if go-redis retries it
	exists := pipe.Exists(ctx, key)
	pipe.Set(ctx, marker, "", time.Second)
	acked := pipe.Do(ctx, "wait", needed, timeout.Milliseconds())
	if _, err := pipe.Exec(ctx); err != nil {
		return false, 0, err
	}
	replicas, err = acked.Int()
	return exists.Val() == 1, replicas, err
}

// Master returns a client of the server that has the master copy of key. A pipeline to it uses one connection.
func Master(ctx context.Context, c redis.UniversalClient, key string) (redis.UniversalClient, error) {
	if cluster, ok := c.(*redis.ClusterClient); ok {
		return cluster.MasterForKey(ctx, key)
	}
	return c, nil
}

const (
	// replicaLag is the longest lag of a connected replica, as in min-replicas-max-lag.
	replicaLag = 10 * time.Second
	// replicaKept is how long a replica counts after it was seen. When a replica is promoted, the others follow the old
	// master for a second or two. Writes that only those have are lost.
	replicaKept = 15 * time.Second
)

// Replicas counts the replicas that must have a write before no failover can lose it: all that are connected. It is
// safe for concurrent use.
type Replicas struct {
	c    redis.UniversalClient
	key  string
	mu   sync.Mutex
	of   string     // master_replid, which changes on a failover
	seen []sighting // counts within replicaKept
}

type sighting struct {
	at time.Time
	n  int
}

// NewReplicas returns a counter for the replicas of the server that has key.
func NewReplicas(c redis.UniversalClient, key string) *Replicas { return &Replicas{c: c, key: key} }

// Refresh counts the replicas now. Call it every few seconds. Errors are those of Redis. For a user who may not run
// INFO, Needed returns 1.
func (r *Replicas) Refresh(ctx context.Context) error {
	node, err := Master(ctx, r.c, r.key)
	if err != nil {
		return err
	}
	info, err := node.Info(ctx, "replication").Result()
	if err != nil {
		return fmt.Errorf("count the replicas of Redis: %w", err)
	}
	now, of := sighting{at: time.Now()}, ""
	for line := range strings.Lines(info) {
		line = strings.TrimSpace(line)
		if goodReplica(line) {
			now.n++
		}
		if id, ok := strings.CutPrefix(line, "master_replid:"); ok {
			of = id
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if of != r.of {
		r.of, r.seen = of, nil
	}
	old := func(s sighting) bool { return now.at.Sub(s.at) > replicaKept }
	r.seen = append(slices.DeleteFunc(r.seen, old), now)
	return nil
}

// goodReplica reports whether a line of INFO is a connected replica, such as
// "slave0:ip=10.0.0.2,port=6379,state=online,offset=42,lag=1".
func goodReplica(line string) bool {
	name, rest, _ := strings.Cut(line, ":")
	if !strings.HasPrefix(name, "slave") || !strings.Contains(rest, ",state=online,") {
		return false
	}
	_, lag, _ := strings.Cut(rest, ",lag=")
	seconds, err := strconv.Atoi(lag)
	return err == nil && time.Duration(seconds)*time.Second <= replicaLag
}

// Needed returns the number of replicas that must have a write: the highest count of the last 15 seconds, at least 1.
func (r *Replicas) Needed() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 1
	for _, s := range r.seen {
		n = max(n, s.n)
	}
	return n
}
