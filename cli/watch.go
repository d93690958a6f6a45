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

// watch waits until a snapshot or batch has ended. It shows the progress on stderr and
// returns the number of failed and canceled snapshots. While Redis is unavailable it
// waits.
func watch(ctx context.Context, e env, c *connection, id string) (failed int, err error) {
	b, err := c.ledger.Batch(ctx, id)
	if errors.Is(err, ledger.ErrNotFound) {
		return watchSnapshot(ctx, e, c, id)
	}
	if err != nil {
		return 0, cmp.Or(interruptedWait(ctx, id), c.redisError(err))
	}
	seen := c.watchLoss(ctx, e)
	p := newProgress(e, b)
	defer p.close()
	stalled := stallReporter{id: id, print: p.printLine}
	for !b.Ended() {
		stalled.report(ctx, c, pausedReason(b))
		if !sleep(ctx, 250*time.Millisecond) {
			return 0, interruptedWait(ctx, id)
		}
		next, err := c.ledger.Batch(ctx, id)
		switch {
		case errors.Is(err, ledger.ErrNotFound) && seen.check(ctx, e):
			return 0, fail(exitFailed, "batch %s was lost while it was waited for: enqueue it again", id)
		case errors.Is(err, ledger.ErrNotFound):
			return 0, fail(exitFailed, "batch %s expired during the wait", id)
		case err != nil:
			p.showError(err)
			continue
		}
		b = next
		p.show(b)
	}
	return b.Failed + b.Canceled, nil
}

func watchSnapshot(ctx context.Context, e env, c *connection, id string) (failed int, err error) {
	stalled := stallReporter{id: id, print: func(line string) { fmt.Fprintln(e.stderr, line) }}
	seen := c.watchLoss(ctx, e)
	for {
		s, err := c.results.Snapshot(ctx, id)
		switch {
		case errors.Is(err, ledger.ErrNotFound) && seen.check(ctx, e):
			return 0, fail(exitFailed, "snapshot %s was lost while it was waited for: enqueue it again", id)
		case errors.Is(err, ledger.ErrNotFound):
			return 0, c.unknownID(id)
		case err == nil && s.State == ledger.Succeeded:
			return 0, nil
		case err == nil && s.State.Ended():
			return 1, nil
		case err == nil:
			stalled.report(ctx, c, heldReason(s))
		}
		if !sleep(ctx, 250*time.Millisecond) {
			return 0, interruptedWait(ctx, id)
		}
	}
}

// interruptedWait returns the error of an interrupted wait, or nil if ctx has not ended.
func interruptedWait(ctx context.Context, id string) error {
	if ctx.Err() == nil {
		return nil
	}
	return fail(exitTempFail, "interrupted; the work continues, wait for it with: tiwsnap wait %s", id)
}

// progress shows the progress of a batch: a bar on a terminal, otherwise a line every two
// seconds.
type progress struct {
	e    env
	bar  *progressbar.ProgressBar
	line time.Time // time of the last line
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
	p.pace.Add(now, b)
	words := batchSummary(b, &p.pace)
	switch {
	case p.bar != nil:
		p.bar.Describe(words)
		p.bar.Set(b.Done())
	case b.Ended() || now.Sub(p.line) >= 2*time.Second:
		p.line = now
		fmt.Fprintf(p.e.stderr, "%s: %s\n", b.ID, words)
	}
}

func (p *progress) showError(err error) {
	if now := time.Now(); now.Sub(p.line) >= 2*time.Second {
		p.line = now
		fmt.Fprintf(p.e.stderr, "%s: waiting: %v\n", p.last.ID, err)
	}
}

// printLine prints a line without disturbing the progress bar.
func (p *progress) printLine(line string) {
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

// sleep waits for d. It returns false if ctx ends first.
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

// waitAndPrint waits for snapshots and batches and prints their status. The error has an
// exit code.
func waitAndPrint(ctx context.Context, e env, c *connection, ids []string, output string) error {
	for _, id := range ids {
		if _, _, err := c.find(ctx, id); err != nil {
			return cmp.Or(interruptedWait(ctx, id), err)
		}
	}
	failed := 0
	for _, id := range ids {
		n, err := watch(ctx, e, c, id)
		if err != nil {
			return err
		}
		failed += n
		if err := printStatus(ctx, e, c, id, output); err != nil {
			return err
		}
	}
	if failed > 0 {
		return &exitError{exitFailed, nil}
	}
	return nil
}
