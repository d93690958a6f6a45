package enqueue

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"tiwsnap/ledger"
	"tiwsnap/tasks"
	"tiwsnap/tiw"
)

// retryParallel is how many snapshots are retried concurrently.
const retryParallel = 16

// Retry retries a snapshot that has failed, was canceled, or is held for review. If it
// succeeded and has lost images, it queues these for copying again. ok is false if it
// is none of these.
func (c *Client) Retry(ctx context.Context, s ledger.Snapshot) (ok bool, err error) {
	if s.State == ledger.Succeeded && s.Count(ledger.Lost) > 0 {
		return c.copyAgain(ctx, s)
	}
	ok, err = c.ledger.Retry(ctx, s.ID, s.Room)
	if ok && s.Batch == "" {
		err = c.Reenqueue(ctx, tasks.SnapshotPayload{ID: s.ID, Room: s.Room})
	}
	return ok, err
}

func (c *Client) copyAgain(ctx context.Context, s ledger.Snapshot) (ok bool, err error) {
	n, err := c.ledger.CopyAgain(ctx, s)
	return n > 0, err
}

// RetryBatch retries the failed snapshots of a batch, or with held those that are held
// for review, that have the error code; the empty code matches all. With the code
// tiw.CodeImageLost it queues lost images for copying again instead. It returns how
// many it has retried, also with an error: if ctx has ended, the same call does the
// rest.
func (c *Client) RetryBatch(ctx context.Context, batch string, held bool, code string) (int, error) {
	all, retry := c.ledger.Failures(ctx, batch), c.Retry
	switch {
	case held:
		all = c.ledger.Held(ctx, batch)
	case code == tiw.CodeImageLost:
		all, retry, code = c.ledger.LostImages(ctx, batch), c.copyAgain, ""
	}
	var n atomic.Int64
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(retryParallel)
	for s, err := range all {
		if gctx.Err() != nil {
			break // the error is that of the group or of ctx
		}
		if err != nil {
			g.Go(func() error { return err })
			break
		}
		if !s.HasCode(code) {
			continue
		}
		g.Go(func() error {
			ok, err := retry(gctx, s)
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
