package enqueue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tiwsnap/internal/asynqx"
	"tiwsnap/internal/rdb"
)

// replicaPatience is how long a replica has to confirm.
const replicaPatience = time.Second

// ErrNotReplicated means that what was enqueued is accepted by this Redis, and
// that no replica has confirmed it: the loss of this one machine may lose it.
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

// awaitReplica waits for a replica to have what lies at the first of the
// places where there is anything.
func (c *Client) awaitReplica(ctx context.Context, what string, places ...place) error {
	for _, p := range places {
		found, replicas, err := rdb.AwaitReplica(ctx, c.rdb, p.key, p.marker, replicaPatience)
		switch {
		case err != nil:
			return fmt.Errorf("%s is accepted here but %w: %w", what, ErrNotReplicated, err)
		case found && replicas == 0:
			return fmt.Errorf("%s is accepted here but %w: no replica confirmed it within %s", what, ErrNotReplicated, replicaPatience)
		case found:
			return nil
		}
	}
	return fmt.Errorf("%s is lost and %w: Redis failed over before a replica had it; enqueue it again", what, ErrNotReplicated)
}
