package enqueue

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"tiwsnap/ledger"
	"tiwsnap/tasks"
)

// retryParallel is how many snapshots are retried at a time.
const retryParallel = 16

// Retry sends a snapshot again that has failed, was canceled, or is held. ok is
// false if it is in none of these states.
func (c *Client) Retry(ctx context.Context, s ledger.Snapshot) (ok bool, err error) {
	ok, err = c.ledger.Retry(ctx, s.ID, s.Room)
	if ok && s.Batch == "" {
		err = c.Again(ctx, tasks.SnapshotPayload{ID: s.ID, Room: s.Room})
	}
	return ok, err
}

// RetryBatch retries the failed snapshots of a batch, or with held those that
// wait for a person, if they have the code; all have the empty one. It returns
// how many it has queued again, also with an error: where ctx has ended in the
// middle, the same call does the rest.
func (c *Client) RetryBatch(ctx context.Context, batch string, held bool, code string) (int, error) {
	all := c.ledger.Failures(ctx, batch)
	if held {
		all = c.ledger.Held(ctx, batch)
	}
	var n atomic.Int64
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(retryParallel)
	for s, err := range all {
		if gctx.Err() != nil {
			break // the error is the group's, or the end of ctx
		}
		if err != nil {
			g.Go(func() error { return err })
			break
		}
		if !s.HasCode(code) {
			continue
		}
		g.Go(func() error {
			ok, err := c.Retry(gctx, s)
			if ok {
				n.Add(1)
			}
			return err
		})
	}
	err := g.Wait()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return int(n.Load()), err
}
