package cli

import (
	"context"
	"fmt"

	"tiwsnap/ledger"
)

// memory is what commands that enqueue remember of a Redis on this machine, so that
// the next one notices a loss of data. It is for that alone: where it cannot be read
// or kept, nothing is said.
type memory struct {
	c    *connection
	dir  string
	seen *ledger.Seen
}

// remember tells on stderr that Redis has lost data since the last command, or since
// the worker that shares the spool folder has looked.
func (c *connection) remember(ctx context.Context, e env) memory {
	m := memory{c: c, dir: spoolFolder(c.cfg)}
	m.seen, _ = ledger.ReadSeen(m.dir)
	m.look(ctx, e)
	return m
}

// look looks for a loss once more, and reports whether there is one.
func (m memory) look(ctx context.Context, e env) bool {
	loss, err := m.c.ledger.CheckLoss(ctx, m.seen, !m.c.cfg.Webhook.URL.Empty())
	if err != nil || loss == nil {
		return false
	}
	fmt.Fprintf(e.stderr, "warning: %s. Fix: %s\n", loss, ledger.LossFix)
	return true
}

// keep remembers what was enqueued.
func (m memory) keep(id string) {
	m.seen.Add(id)
	_ = m.seen.Keep(m.dir)
}
