package ledger

// State is the state of a snapshot. The states and their transitions:
//
//	queued ─► sending ─► accepted ─► succeeded
//	  ▲         │  │         └─────► failed   (the render failed, or 72 h have passed)
//	  │         │  └─► unknown ─► accepted    (a callback, or a late answer, named its task)
//	  │         │         └─────► sending     (the grace ran out: a possible duplicate)
//	  └─ throttled, not sent └──► failed      (permanent, or attempts used up)
//	queued, unknown ─► canceled
//	failed, canceled ─► queued                (retried by a person)
type State string

// The states. A queued snapshot of a batch has no record before its first attempt.
const (
	Queued    State = "queued"
	Sending   State = "sending"
	Unknown   State = "unknown"
	Accepted  State = "accepted"
	Succeeded State = "succeeded"
	Failed    State = "failed"
	Canceled  State = "canceled"
)

// Ended reports whether the state is final, unless a person retries the snapshot.
func (s State) Ended() bool { return s == Succeeded || s == Failed || s == Canceled }
