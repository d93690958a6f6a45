package enqueue

import (
	"context"
	"fmt"
	"strings"
	"time"

	"tiwsnap/tasks"
)

// maxStem is how many characters of the old id the id of a rerun has. The time takes
// the other 16 of 64.
const maxStem = 48

// Rerun enqueues the rooms of a batch again, as a new batch. Its id is o.ID or, if that
// is empty, the old id with the time in UTC, such as monday-20261130-080000. The rooms
// have their defaults already; o.Defaults is ignored. Errors: those of Batch,
// backlog.ErrNotFound, and ErrExists if a batch of the new id exists, whatever its
// rooms.
func (c *Client) Rerun(ctx context.Context, batch string, o BatchOptions) (Batch, error) {
	if o.ID == "" {
		o.ID = strings.TrimRight(batch[:min(len(batch), maxStem)], "-") + time.Now().UTC().Format("-20060102-150405")
	}
	o.Defaults = tasks.Room{}
	b, err := c.Batch(ctx, c.backlog.Rooms(ctx, batch), o)
	if err == nil && !b.Created {
		err = fmt.Errorf("batch %s %w", b.ID, ErrExists)
	}
	return b, err
}
