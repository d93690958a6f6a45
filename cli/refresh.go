package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/term"

	"tiwsnap/ledger"
	"tiwsnap/results"
)

const (
	// refreshEvery is the time between two rounds of status --watch.
	refreshEvery = 2 * time.Second
	// watchedBatches is how many batches are looked at in each round where there
	// is no terminal, whose height says it.
	watchedBatches = 20
)

// refresh shows the status again and again until ctx ends, or what has the id
// has ended: redrawn on a terminal, else as a line each round. Redis being away
// is waited out, but for the first round.
func refresh(ctx context.Context, e env, c *connection, id string, f batchFilter) error {
	terminal := terminalOf(e.stdout)
	var pace results.Pace
	for round := 0; ; round++ {
		var text bytes.Buffer
		view := env{stdout: &text, stderr: &text}
		ended, err := false, sayTrouble(ctx, view, c)
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
				err = printSums(ctx, view, c, f)
			}
		default:
			ended, err = printOne(ctx, view, c, id, terminal != nil, &pace)
		}
		if ctx.Err() != nil {
			return nil // the way to end it
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
		} else if _, err := fmt.Fprintf(terminal, "\x1b[H\x1b[2J%s  every %s, end with Ctrl-C\n%s",
			clock(time.Now()), refreshEvery, escape(text.String(), "\n\t")); err != nil {
			return err
		}
		if ended || !sleep(ctx, refreshEvery) {
			return nil
		}
	}
}

// printSums prints a line about the batches that are chosen.
func printSums(ctx context.Context, e env, c *connection, f batchFilter) error {
	if f.limit == 0 {
		f.limit = watchedBatches
	}
	var more bool
	var all ledger.Batch
	n := map[string]int{}
	batches := 0
	for b, err := range f.batches(ctx, c.ledger, &more) {
		if err != nil {
			return c.away(err)
		}
		batches++
		n[b.State]++
		all.Total, all.Queued = all.Total+b.Total, all.Queued+b.Queued
		all.Succeeded, all.Failed, all.Canceled = all.Succeeded+b.Succeeded, all.Failed+b.Failed, all.Canceled+b.Canceled
		all.Sending += inProgress(b)
	}
	which := plural(batches, "batch")
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
		clock(time.Now()), which, n["running"], n["paused"], n["canceled"], n["ended"],
		plural(all.Total, "room"), all.Queued, all.Sending, all.Succeeded, all.Failed, canceled)
	return err
}

// printOne prints the snapshot or batch of that id, whole or on a line, and
// reports whether it has ended.
func printOne(
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
		_, err = fmt.Fprintf(e.stdout, "%s %s: %s\n", clock(time.Now()), id, s.State)
		return s.State.Ended(), err
	}
	p.Look(time.Now(), *b)
	if whole {
		return b.Ended(), printBatch(ctx, e, c, *b, "table")
	}
	_, err = fmt.Fprintf(e.stdout, "%s %s: %s, %s\n", clock(time.Now()), id, b.State, batchWords(*b, p))
	return b.Ended(), err
}
