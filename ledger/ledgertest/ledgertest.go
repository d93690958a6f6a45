// Package ledgertest records snapshots in the ledger as a worker does, for tests.
package ledgertest

import (
	"testing"

	"tiwsnap/ledger"
	"tiwsnap/tasks"
)

// Accept begins a snapshot and records that the API has accepted it. The TaskID
// is "task-" and the id of the snapshot.
func Accept(t testing.TB, l *ledger.Ledger, p tasks.SnapshotPayload) {
	t.Helper()
	in, err := l.Begin(t.Context(), p, p.ID, "")
	if err == nil {
		o := ledger.Outcome{State: ledger.Accepted, TaskID: "task-" + p.ID}
		err = l.Outcome(t.Context(), p.ID, in.Attempt, o)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Succeed records the images of a snapshot from Accept. The images are to be copied.
func Succeed(t testing.TB, l *ledger.Ledger, id string, images ...string) {
	t.Helper()
	err := l.SettleAll(t.Context(), []ledger.Settlement{{
		ID: id, TaskID: "task-" + id, Copy: true, Result: ledger.Result{State: ledger.Succeeded, Images: images},
	}})[0]
	if err != nil {
		t.Fatal(err)
	}
}
