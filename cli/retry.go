package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"tiwsnap/config"
	"tiwsnap/enqueue"
	"tiwsnap/ledger"
)

// retryParallel is how many snapshots are retried at a time.
const retryParallel = 16

func newRetry(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "retry ID... | BATCH... --failed|--held",
		Short: "Send snapshots again that failed, were canceled, or wait for a person",
		Long: `Send snapshots again that failed, were canceled, or are held because the outcome
of a request is unknown (a second task may be made then). Their attempts are
counted anew. With --failed or --held, those of whole batches.`,
		Args: cobra.MinimumNArgs(1),
	}
	failed := cmd.Flags().Bool("failed", false, "all failed snapshots of the batches")
	held := cmd.Flags().Bool("held", false, "all snapshots of the batches that wait for a person")
	code := cmd.Flags().String("code", "", "only those with this error `code`; InternalError means InternalError.Timeout too")
	cmd.MarkFlagsMutuallyExclusive("failed", "held")
	config.Flags(cmd.Flags(), "redis.url")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		if *code != "" && !*failed && !*held {
			return fail(exitUsage, "--code chooses among the snapshots of a batch: add --failed or --held")
		}
		c, err := connect(cmd, e)
		if err != nil {
			return err
		}
		defer c.close()
		r := retrier{c, enqueue.New(c.rdb)}
		return eachID(e, c, args, func(id string) (said string, done bool, err error) {
			switch {
			case *failed:
				return r.batch(ctx, id, ledger.Failed, *code)
			case *held:
				return r.batch(ctx, id, ledger.Unknown, *code)
			}
			return r.snapshot(ctx, id)
		})
	}
	return cmd
}

// retrier gives snapshots a new life.
type retrier struct {
	c     *connection
	queue *enqueue.Client
}

// one retries one snapshot, if it is in a state for that.
func (r retrier) one(ctx context.Context, s ledger.Snapshot) (ok bool, err error) {
	ok, err = r.c.ledger.Retry(ctx, s.ID, s.Room)
	if ok && s.Batch == "" {
		err = r.queue.Again(ctx, s.ID, s.Room)
	}
	return ok, err
}

func (r retrier) snapshot(ctx context.Context, id string) (said string, done bool, err error) {
	if _, err := r.c.ledger.Batch(ctx, id); !errors.Is(err, ledger.ErrNotFound) {
		if err == nil {
			err = fail(exitUsage, "%s is a batch: add --failed or --held", id)
		}
		return "", false, err
	}
	s, err := find(ctx, r.c, id)
	if err != nil {
		return "", false, err
	}
	ok, err := r.one(ctx, s)
	if err != nil {
		return "", false, err
	}
	if !ok {
		return fmt.Sprintf("is %s: only what failed, was canceled or is held can be retried", s.State), false, nil
	}
	return "queued again", true, nil
}

// batch retries the snapshots of a batch that are in a state, Failed or
// Unknown and held, and have the code, if one is given.
func (r retrier) batch(ctx context.Context, id string, state ledger.State, code string) (said string, done bool, err error) {
	if _, err := r.c.ledger.Batch(ctx, id); err != nil {
		return "", false, err
	}
	all := r.c.ledger.Failures(ctx, id)
	if state == ledger.Unknown {
		all = r.c.ledger.Held(ctx, id)
	}
	var n atomic.Int64
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(retryParallel)
	for s, err := range all {
		if gctx.Err() != nil {
			break // the error is the group's, or the interruption
		}
		if err != nil {
			g.Go(func() error { return err })
			break
		}
		if !hasCode(s, code) {
			continue
		}
		g.Go(func() error {
			ok, err := r.one(gctx, s)
			if ok {
				n.Add(1)
			}
			return err
		})
	}
	err = g.Wait()
	if ctx.Err() != nil {
		return "", false, fail(exitTempFail, "interrupted with %d of %s queued again; the same command does the rest", n.Load(), id)
	}
	return fmt.Sprintf("%d queued again", n.Load()), true, err
}

// hasCode reports whether the snapshot's error is of that code or, where that
// has no dot, of that family. Every snapshot is of the empty code.
func hasCode(s ledger.Snapshot, code string) bool {
	return code == "" || s.Code == code || strings.HasPrefix(s.Code, code+".")
}
