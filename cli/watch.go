package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/schollz/progressbar/v3"

	"tiwsnap/ledger"
	"tiwsnap/results"
)

// watch waits until the snapshot or batch has ended, showing progress on
// stderr, and returns how many snapshots failed or were canceled. Redis being
// away is waited out.
func watch(ctx context.Context, e env, c *connection, id string) (failed int, err error) {
	b, err := c.ledger.Batch(ctx, id)
	if errors.Is(err, ledger.ErrNotFound) {
		return watchSnapshot(ctx, e, c, id)
	}
	if err != nil {
		return 0, cmp.Or(goesOn(ctx, id), c.away(err))
	}
	seen := c.remember(ctx, e)
	p := newProgress(e, b)
	defer p.close()
	stalled := stall{id: id, say: p.say}
	for !b.Ended() {
		stalled.look(ctx, c, pausedBatch(b))
		if !sleep(ctx, 250*time.Millisecond) {
			return 0, goesOn(ctx, id)
		}
		next, err := c.ledger.Batch(ctx, id)
		switch {
		case errors.Is(err, ledger.ErrNotFound) && seen.look(ctx, e):
			return 0, fail(exitFailed, "batch %s was lost while it was waited for: enqueue it again", id)
		case errors.Is(err, ledger.ErrNotFound):
			return 0, fail(exitFailed, "batch %s expired during the wait", id)
		case err != nil:
			p.trouble(err)
			continue
		}
		b = next
		p.show(b)
	}
	return b.Failed + b.Canceled, nil
}

func watchSnapshot(ctx context.Context, e env, c *connection, id string) (failed int, err error) {
	stalled := stall{id: id, say: func(line string) { fmt.Fprintln(e.stderr, line) }}
	seen := c.remember(ctx, e)
	for {
		s, err := c.results.Snapshot(ctx, id)
		switch {
		case errors.Is(err, ledger.ErrNotFound) && seen.look(ctx, e):
			return 0, fail(exitFailed, "snapshot %s was lost while it was waited for: enqueue it again", id)
		case errors.Is(err, ledger.ErrNotFound):
			return 0, c.unknownID(id)
		case err == nil && s.State == ledger.Succeeded:
			return 0, nil
		case err == nil && s.State.Ended():
			return 1, nil
		case err == nil:
			stalled.look(ctx, c, heldSnapshot(s))
		}
		if !sleep(ctx, 250*time.Millisecond) {
			return 0, goesOn(ctx, id)
		}
	}
}

// goesOn is the end of a command that was interrupted while it waited; nil if it
// was not.
func goesOn(ctx context.Context, id string) error {
	if ctx.Err() == nil {
		return nil
	}
	return fail(exitTempFail, "interrupted; the work goes on, wait for it with: tiwsnap wait %s", id)
}

// progress shows how a batch gets on: a bar on a terminal, else a line every
// two seconds.
type progress struct {
	e    env
	bar  *progressbar.ProgressBar
	line time.Time // when the last line was printed
	pace results.Pace
	last ledger.Batch
}

func newProgress(e env, b ledger.Batch) *progress {
	p := &progress{e: e}
	if f := terminalOf(e.stderr); f != nil {
		p.bar = progressbar.NewOptions(b.Total,
			progressbar.OptionSetWriter(f),
			progressbar.OptionSetWidth(30),
			progressbar.OptionSetPredictTime(false),
			progressbar.OptionSetElapsedTime(false),
			progressbar.OptionThrottle(100*time.Millisecond),
		)
	}
	p.show(b)
	return p
}

func (p *progress) show(b ledger.Batch) {
	now := time.Now()
	p.last = b
	p.pace.Look(now, b)
	words := batchWords(b, &p.pace)
	switch {
	case p.bar != nil:
		p.bar.Describe(words)
		p.bar.Set(b.Done())
	case b.Ended() || now.Sub(p.line) >= 2*time.Second:
		p.line = now
		fmt.Fprintf(p.e.stderr, "%s: %s\n", b.ID, words)
	}
}

func (p *progress) trouble(err error) {
	if now := time.Now(); now.Sub(p.line) >= 2*time.Second {
		p.line = now
		fmt.Fprintf(p.e.stderr, "%s: waiting: %v\n", p.last.ID, err)
	}
}

// say prints a line beside the progress.
func (p *progress) say(line string) {
	if p.bar != nil {
		p.bar.Clear()
	}
	fmt.Fprintln(p.e.stderr, line)
}

func (p *progress) close() {
	if p.bar != nil {
		fmt.Fprintln(p.e.stderr)
	}
}

// sleep waits for d and reports whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
