package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"tiwsnap/config"
	"tiwsnap/ledger"
)

func newCancel(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cancel ID...",
		Short: "Cancel snapshots or batches that Tencent has not accepted yet",
		Long: `Cancel snapshots or batches. A snapshot that Tencent has accepted cannot be canceled:
its task continues. Exit code 1 if there is nothing left to cancel.`,
		Example: `  tiwsnap cancel monday
  tiwsnap cancel monday.17 s-01hqx5mz7k3v9t2b8n4c6d0f1g`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeBatches(e, func(b ledger.Batch) bool { return !b.Ended() && b.CanceledFrom == 0 }),
	}
	output := outputFlag(cmd, "table", "json", "jsonl")
	config.Flags(cmd.Flags(), "redis.url", "namespace")
	cmd.RunE = withRedis(e, func(cmd *cobra.Command, c *connection, args []string) error {
		return eachID(e, c, args, *output, func(id string) (said string, done bool, err error) {
			said, done, err = cancel(cmd.Context(), c, id)
			if done && err == nil {
				c.audit(e, "cancel", id, said)
			}
			return said, done, err
		})
	})
	return cmd
}

// outcome is the result of a command for one id.
type outcome struct {
	ID      string `json:"id"`
	Done    bool   `json:"done"` // false: nothing to do, or not possible
	Message string `json:"message"`
}

// eachID calls do for each id and prints the outcomes. It exits with exitUsage if an id
// is unknown or invalid, otherwise with exitFailed if one was not done. do returns a
// message, and whether it was done.
func eachID(
	e env, c *connection, ids []string, output string, do func(id string) (said string, done bool, err error),
) error {
	code := exitOK
	each := func(yield func(outcome, error) bool) {
		for _, id := range ids {
			said, done, err := do(id)
			if errors.Is(err, ledger.ErrNotFound) {
				err = c.unknownID(id)
			}
			var wrong *exitError
			switch {
			case errors.As(err, &wrong) && wrong.code == exitUsage:
				fmt.Fprintf(e.stderr, "tiwsnap: %v\n", err)
				code, said, done = exitUsage, err.Error(), false
				if output == "table" {
					continue
				}
			case err != nil:
				yield(outcome{}, c.redisError(err))
				return
			case !done && code == exitOK:
				code = exitFailed
			}
			if !yield(outcome{id, done, said}, nil) {
				return
			}
		}
	}
	if output == "json" {
		if err := printJSONList(e.stdout, "results", each, nil); err != nil {
			return err
		}
	} else {
		for o, err := range each {
			if err == nil && output == "jsonl" {
				err = printJSON(e.stdout, o, false)
			} else if err == nil {
				_, err = fmt.Fprintf(e.stdout, "%s: %s\n", o.ID, o.Message)
			}
			if err != nil {
				return err
			}
		}
	}
	if code != exitOK {
		return &exitError{code, nil}
	}
	return nil
}

// cancel cancels the batch or snapshot of an id and returns a message. done is false if
// it can no longer be canceled.
func cancel(ctx context.Context, c *connection, id string) (said string, done bool, err error) {
	before, err := c.ledger.Batch(ctx, id)
	if errors.Is(err, ledger.ErrNotFound) {
		return cancelSnapshot(ctx, c, id)
	}
	if err != nil {
		return "", false, err
	}
	n, err := c.ledger.CancelBatch(ctx, id)
	if err != nil {
		return "", false, err
	}
	b, err := c.ledger.Batch(ctx, id)
	if err != nil {
		return "", false, err
	}
	follow := b.Queued + b.Sending + b.Unknown
	switch {
	case n == 0 && follow == 0 && before.CanceledFrom > 0:
		return "is canceled already", true, nil
	case n == 0 && follow == 0 && b.CanceledFrom == 0:
		return fmt.Sprintf("nothing left to cancel: %d accepted, %d succeeded, %d failed, %d canceled",
			b.Accepted, b.Succeeded, b.Failed, b.Canceled), false, nil
	}
	said = fmt.Sprintf("%d canceled", n)
	if follow > 0 {
		said += fmt.Sprintf("; %d in the queue will be canceled, unless accepted by Tencent first", follow)
	}
	if b.Accepted > 0 {
		said += fmt.Sprintf("; %d accepted by Tencent cannot be canceled", b.Accepted)
	}
	return said, true, nil
}

func cancelSnapshot(ctx context.Context, c *connection, id string) (said string, done bool, err error) {
	s, err := c.results.Snapshot(ctx, id)
	if err != nil {
		return "", false, err
	}
	state, err := c.ledger.Cancel(ctx, id, s.Room)
	if err != nil {
		return "", false, err
	}
	switch state {
	case ledger.Canceled:
		switch s.State {
		case ledger.Canceled:
			return "is canceled already", true, nil
		case ledger.Unknown:
			return "canceled; its last request may have created a task (outcome unknown)", true, nil
		}
		return "canceled", true, nil
	case ledger.Sending:
		return "a request is in flight; it will be canceled unless Tencent accepts that request", true, nil
	case ledger.Accepted:
		return "cannot be canceled: Tencent has accepted it", false, nil
	}
	return fmt.Sprintf("cannot be canceled: it has %s already", state), false, nil
}
