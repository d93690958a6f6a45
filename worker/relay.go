package worker

import (
	"tiwsnap/tasks"
)

// Tencent calls one URL when a task has ended. A worker that receives callbacks and
// sends webhooks relays: it gives Tencent its own URL, and calls the CallbackURL of
// the room when the result is confirmed. Every other worker gives Tencent the
// CallbackURL of the room.

// relays reports whether this worker calls the CallbackURLs of rooms itself.
func (w *Worker) relays() bool { return w.o.CallbackURL != nil && w.o.Webhooks.Sender != nil }

// callbackURL returns the CallbackURL of an attempt's request, or "" for none.
func (w *Worker) callbackURL(p tasks.SnapshotPayload, attempt int) string {
	switch own := p.Room.CallbackURL; {
	case own != "" && !w.relays():
		return own
	case w.o.CallbackURL != nil:
		return w.o.CallbackURL(p.ID, attempt)
	}
	return w.o.OtherCallbackURL
}
