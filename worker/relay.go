package worker

import (
	"tiwsnap/tasks"
)

// Tencent calls one URL when a task has ended. A worker that takes callbacks and
// sends webhooks gives it its own, and calls the one that the room names when
// the result is confirmed: that is relaying. Every other worker gives Tencent
// the room's.

// relays reports whether this worker itself calls the CallbackURLs of rooms.
func (w *Worker) relays() bool { return w.o.CallbackURL != nil && w.o.Webhooks.Sender != nil }

// callbackURL is the CallbackURL of an attempt's request, or empty.
func (w *Worker) callbackURL(p tasks.SnapshotPayload, attempt int) string {
	switch own := p.Room.CallbackURL; {
	case own != "" && !w.relays():
		return own
	case w.o.CallbackURL != nil:
		return w.o.CallbackURL(p.ID, attempt)
	}
	return w.o.OtherCallbackURL
}
