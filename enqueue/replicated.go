package enqueue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tiwsnap/internal/asynqx"
	"tiwsnap/internal/rdb"
)

// replicaPatience is how long the replicas have to confirm.
const replicaPatience = time.Second

// ErrNotReplicated means that what was enqueued is accepted by this Redis, and
// that not every replica has confirmed it: a failover may lose it.
// The same call again waits again, and adds nothing where a key or a batch id
// names the work.
var ErrNotReplicated = errors.New("not replicated")

// task is where asynq keeps a task of the interactive queue until it has ended.
func (c *Client) task(id string) place {
	queue := asynqx.Prefix(c.ns.QueueInteractive())
	return place{queue + "t:" + id, queue + "tiwsnap:replicated"}
}

// place is where in Redis something may lie, and a key of ours in the same slot
// of a cluster.
type place struct{ key, marker string }

// awaitReplicas waits for all replicas to have what lies at the first of the places
// where there is anything: a failover may promote the one that has it not.
func (c *Client) awaitReplicas(ctx context.Context, what string, places ...place) error {
	for _, p := range places {
		all := rdb.NewReplicas(c.rdb, p.key)
		_ = all.Look(ctx) // who may not run INFO waits for one
		needed := all.Needed()
		found, replicas, err := rdb.AwaitReplicas(ctx, c.rdb, p.key, p.marker, needed, replicaPatience)
		switch {
		case err != nil:
			return fmt.Errorf("%s is accepted here but %w: %w", what, ErrNotReplicated, err)
		case found && replicas < needed:
			return fmt.Errorf("%s is accepted here but %w: %d of %d replicas confirmed it within %s",
				what, ErrNotReplicated, replicas, needed, replicaPatience)
		case found:
			return nil
		}
	}
	return fmt.Errorf("%s is lost and %w: Redis failed over before the replicas had it; enqueue it again", what,
		ErrNotReplicated)
}
