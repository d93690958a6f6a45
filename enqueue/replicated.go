package enqueue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tiwsnap/internal/asynqx"
	"tiwsnap/internal/rdb"
)

// replicaTimeout is how long the replicas have to confirm.
const replicaTimeout = time.Second

// ErrNotReplicated means that Redis has accepted the work, but not every replica has
// confirmed it in time: a failover may lose it. The same call waits again. It enqueues
// nothing twice if the work has a key or a batch id.
var ErrNotReplicated = errors.New("not replicated")

// task returns the place of a task of the interactive queue in asynq.
func (c *Client) task(id string) place {
	queue := asynqx.Prefix(c.ns.QueueInteractive())
	return place{queue + "t:" + id, queue + "tiwsnap:replicated"}
}

// place is a key that may exist, and a key of ours in the same slot of a cluster, which
// is written for WAIT.
type place struct{ key, marker string }

// awaitReplicas waits until all replicas have the first of the places that exists. One
// replica is not enough, because a failover may promote another one.
func (c *Client) awaitReplicas(ctx context.Context, what string, places ...place) error {
	for _, p := range places {
		all := rdb.NewReplicas(c.rdb, p.key)
		_ = all.Refresh(ctx) // without permission for INFO, one replica must confirm
		needed := all.Needed()
		found, replicas, err := rdb.AwaitReplicas(ctx, c.rdb, p.key, p.marker, needed, replicaTimeout)
		switch {
		case err != nil:
			return fmt.Errorf("%s is accepted here but %w: %w", what, ErrNotReplicated, err)
		case found && replicas < needed:
			return fmt.Errorf("%s is accepted here but %w: %d of %d replicas confirmed it within %s",
				what, ErrNotReplicated, replicas, needed, replicaTimeout)
		case found:
			return nil
		}
	}
	return fmt.Errorf("%s is lost and %w: Redis failed over before the replicas had it; enqueue it again", what,
		ErrNotReplicated)
}
