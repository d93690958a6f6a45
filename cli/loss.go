package cli

import (
	"context"
	"fmt"

	"tiwsnap/ledger"
)

// lossWatch detects that Redis has lost data between two commands on this machine. It
// stores what the commands have enqueued. Errors are ignored, because detection is only
// an extra.
type lossWatch struct {
	c    *connection
	dir  string
	seen *ledger.Seen
}

// watchLoss warns on stderr if Redis has lost data since the last command, or since the
// last check of a worker with the same spool folder.
func (c *connection) watchLoss(ctx context.Context, e env) lossWatch {
	m := lossWatch{c: c, dir: spoolFolder(c.cfg)}
	m.seen, _ = ledger.ReadSeen(m.dir)
	m.check(ctx, e)
	return m
}

// check checks for a loss again, and reports whether there is one.
func (m lossWatch) check(ctx context.Context, e env) bool {
	loss, err := m.c.ledger.CheckLoss(ctx, m.seen, !m.c.cfg.Webhook.URL.Empty())
	if err != nil || loss == nil {
		return false
	}
	fmt.Fprintf(e.stderr, "warning: %s. Fix: %s\n", loss, ledger.LossFix)
	return true
}

// save stores the id of what was enqueued.
func (m lossWatch) save(id string) {
	m.seen.Add(id)
	_ = m.seen.Keep(m.dir)
}
