package enqueue

import (
	"context"
	"fmt"
	"strings"
	"time"

	"tiwsnap/tasks"
)

// maxStem is what is kept of the id of a batch in that of its rerun, whose time
// takes the other 16 of 64 characters.
const maxStem = 48

// Rerun enqueues the rooms of a batch once more, as a new batch: o.ID, or where
// that is empty the old id with the time in UTC, such as monday-20261130-080000.
// The rooms have their defaults already, so that o.Defaults is not used.
// Errors are those of Batch, backlog.ErrNotFound, and ErrExists where there is a
// batch of the new id, whichever rooms it has.
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
