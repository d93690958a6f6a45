package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/term"

	"tiwsnap/internal/plural"
	"tiwsnap/ledger"
	"tiwsnap/results"
)

const (
	// refreshEvery is the interval of status --watch.
	refreshEvery = 2 * time.Second
	// watchedBatches is the default number of batches if stdout is not a terminal. On
	// a terminal it follows from the height.
	watchedBatches = 20
)

// refresh prints the status repeatedly, until ctx ends or the batch or snapshot of the id
// has ended. On a terminal it redraws the screen, otherwise it prints a line each time.
// After the first round it waits while Redis is unavailable.
func refresh(ctx context.Context, e env, c *connection, id string, f batchFilter) error {
	terminal := terminalOf(e.stdout)
	var pace results.Pace
	for round := 0; ; round++ {
		var text bytes.Buffer
		view := env{stdout: &text, stderr: &text}
		ended, err := false, printWarnings(ctx, view, c)
		switch {
		case err != nil:
		case id == "":
			if terminal != nil {
				_, height, _ := term.GetSize(int(terminal.Fd()))
				if rows := max(1, height-strings.Count(text.String(), "\n")-4); f.limit == 0 || f.limit > rows {
					f.limit = rows
				}
				err = printBatches(ctx, view, c, f, "table")
			} else {
				err = printTotals(ctx, view, c, f)
			}
		default:
			ended, err = printProgress(ctx, view, c, id, terminal != nil, &pace)
		}
		if ctx.Err() != nil {
			return nil // Ctrl-C
		}
		if err != nil {
			if round == 0 {
				return err
			}
			fmt.Fprintf(&text, "waiting: %v\n", err)
		}
		if terminal == nil {
			if _, err := io.Copy(e.stdout, &text); err != nil {
				return err
			}
		} else if _, err := fmt.Fprintf(terminal, "\x1b[H\x1b[2J%s  every %s, stop with Ctrl-C\n%s",
			formatTime(time.Now()), refreshEvery, escape(text.String(), "\n\t")); err != nil {
			return err
		}
		if ended || !sleep(ctx, refreshEvery) {
			return nil
		}
	}
}

// printTotals prints one line with the totals of the selected batches.
func printTotals(ctx context.Context, e env, c *connection, f batchFilter) error {
	if f.limit == 0 {
		f.limit = watchedBatches
	}
	var more bool
	var all ledger.Batch
	n := map[string]int{}
	batches := 0
	for b, err := range f.batches(ctx, c.ledger, &more) {
		if err != nil {
			return c.redisError(err)
		}
		batches++
		n[b.State]++
		all.Total, all.Queued = all.Total+b.Total, all.Queued+b.Queued
		all.Succeeded, all.Failed, all.Canceled = all.Succeeded+b.Succeeded, all.Failed+b.Failed, all.Canceled+b.Canceled
		all.Sending += inProgress(b)
	}
	which := plural.Of(batches, "batch")
	if more {
		which = "newest " + which
	}
	canceled := ""
	if all.Canceled > 0 {
		canceled = fmt.Sprintf(", %d canceled", all.Canceled)
	}
	_, err := fmt.Fprintf(e.stdout,
		"%s %s: %d running, %d paused, %d canceled, %d ended; "+
			"%s: %d queued, %d in progress, %d succeeded, %d failed%s\n",
		formatTime(time.Now()), which, n["running"], n["paused"], n["canceled"], n["ended"],
		plural.Of(all.Total, "room"), all.Queued, all.Sending, all.Succeeded, all.Failed, canceled)
	return err
}

// printProgress prints the snapshot or batch of an id, in full or on one line, and reports
// whether it has ended.
func printProgress(
	ctx context.Context,
	e env,
	c *connection,
	id string,
	whole bool,
	p *results.Pace,
) (ended bool, err error) {
	b, s, err := c.find(ctx, id)
	switch {
	case err != nil:
		return false, err
	case s != nil && whole:
		return s.State.Ended(), printSnapshot(e.stdout, *s, "table")
	case s != nil:
		_, err = fmt.Fprintf(e.stdout, "%s %s: %s\n", formatTime(time.Now()), id, s.State)
		return s.State.Ended(), err
	}
	p.Add(time.Now(), *b)
	if whole {
		return b.Ended(), printBatch(ctx, e, c, *b, "table")
	}
	_, err = fmt.Fprintf(e.stdout, "%s %s: %s, %s\n", formatTime(time.Now()), id, b.State, batchSummary(*b, p))
	return b.Ended(), err
}
