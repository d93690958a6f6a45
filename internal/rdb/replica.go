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

// AwaitReplicas waits until so many replicas have key, as it is on the
// master now, for at most timeout, and returns how many have it. found is false where the master has no such
// key: after a failover that lost it. It may take any connection, and come long
// after key was written, for it proves it all by itself: on one connection it
// looks for key, writes marker, and waits for replicas to have that write
// (WAIT). A replica takes all writes in their order, key's before marker's.
//
// On a cluster key and marker must have the same hash tag. marker expires.
func AwaitReplicas(
	ctx context.Context, c redis.UniversalClient, key, marker string, needed int, timeout time.Duration,
) (found bool, replicas int, err error) {
	node, err := Master(ctx, c, key)
	if err != nil {
		return false, 0, err
	}
	pipe := node.Pipeline() // on one connection, also if it has to be sent again
	exists := pipe.Exists(ctx, key)
	pipe.Set(ctx, marker, "", time.Second)
	acked := pipe.Do(ctx, "wait", needed, timeout.Milliseconds())
	if _, err := pipe.Exec(ctx); err != nil {
		return false, 0, err
	}
	replicas, err = acked.Int()
	return exists.Val() == 1, replicas, err
}

// Master is the server that takes the writes of key: for a pipeline that must go
// over one connection, whatever is in it.
func Master(ctx context.Context, c redis.UniversalClient, key string) (redis.UniversalClient, error) {
	if cluster, ok := c.(*redis.ClusterClient); ok {
		return cluster.MasterForKey(ctx, key)
	}
	return c, nil
}

const (
	// replicaLag is from when on a replica that is silent counts as gone, as in
	// min-replicas-max-lag.
	replicaLag = 10 * time.Second
	// replicaKept is for how long one counts that was there. When a replica is
	// promoted the others follow the old master for a second or two more, and
	// what they alone have is lost.
	replicaKept = 15 * time.Second
)

// Replicas is how many replicas must have a write of one key before no failover
// can lose it: all that are there. It is safe for concurrent use.
type Replicas struct {
	c    redis.UniversalClient
	key  string
	mu   sync.Mutex
	of   string     // master_replid: it is another one after a failover
	seen []sighting // of its replicas, within replicaKept
}

type sighting struct {
	at time.Time
	n  int
}

// NewReplicas returns the replicas of the server that has key.
func NewReplicas(c redis.UniversalClient, key string) *Replicas { return &Replicas{c: c, key: key} }

// Look counts the replicas. It must be called every few seconds. A user who may
// not run INFO has at least one to wait for. Errors: Redis'.
func (r *Replicas) Look(ctx context.Context) error {
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

// goodReplica reports whether a line of INFO tells of a replica that follows, as in
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

// Needed is how many replicas have to have a write: the most that were there in the
// last 15 seconds, and 1 at least.
func (r *Replicas) Needed() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 1
	for _, s := range r.seen {
		n = max(n, s.n)
	}
	return n
}
