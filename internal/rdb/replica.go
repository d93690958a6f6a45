package rdb

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// AwaitReplica waits until at least one replica has key, as it is on the
// master now, for at most timeout. found is false where the master has no such
// key: after a failover that lost it. It may take any connection, and come long
// after key was written, for it proves it all by itself: on one connection it
// looks for key, writes marker, and waits for a replica to have that write
// (WAIT). A replica takes all writes in their order, key's before marker's.
//
// On a cluster key and marker must have the same hash tag. marker expires.
func AwaitReplica(ctx context.Context, c redis.UniversalClient, key, marker string, timeout time.Duration) (found bool, replicas int, err error) {
	node := redis.Cmdable(c)
	if cluster, ok := c.(*redis.ClusterClient); ok {
		if node, err = cluster.MasterForKey(ctx, key); err != nil {
			return false, 0, err
		}
	}
	pipe := node.Pipeline() // on one connection, also if it has to be sent again
	exists := pipe.Exists(ctx, key)
	pipe.Set(ctx, marker, "", time.Second)
	acked := pipe.Do(ctx, "wait", 1, timeout.Milliseconds())
	if _, err := pipe.Exec(ctx); err != nil {
		return false, 0, err
	}
	replicas, err = acked.Int()
	return exists.Val() == 1, replicas, err
}
