package cli

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/backlog"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
	"tiwsnap/tiw/tiwtest"
)

// takeSnapshot takes one snapshot of the only batch, as a worker does. It returns a ledger that holds unknown outcomes
// for review.
func (s site) takeSnapshot() *ledger.Ledger {
	s.Helper()
	rdb := s.client()
	if ids, _, err := backlog.New(rdb, keys.Default).Take(s.Context(), "test", 1); err != nil || len(ids) != 1 {
		s.Fatal(ids, err)
	}
	return ledger.New(rdb, ledger.Options{Hold: true})
}

func TestCancel(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	t.Run("queued room", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, tiwtest.Options{})
		id := strings.TrimSpace(s.mustRun("enqueue", "room", "--app", "1400123480", "--room", "7"))
		other := strings.TrimSpace(s.mustRun("enqueue", "room", "--app", "1400123480", "--room", "8"))
		s.checkRun(exitOK, id+": canceled\n", "cancel", id)
		s.checkRun(exitOK, id+": is canceled already\n", "cancel", id)
		s.checkRun(exitOK, "room 7 of app", "status", id)
		s.startWorker()
		s.mustRun("wait", other)
		s.checkRun(exitFailed, "canceled", "wait", id)
		s.checkRun(exitFailed, other+": cannot be canceled: it has succeeded already\n", "cancel", other)
		if n := s.sim.State().Tasks.Created; n != 1 {
			t.Errorf("%d tasks created, want 1", n)
		}
	})

	t.Run("queued batch and its rows", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, tiwtest.Options{})
		s.enqueueBatch("b", 4)
		s.checkRun(exitOK, "b.2: canceled\n", "cancel", "b.2")
		if diff := cmp.Diff([]string{"queued", "canceled", "queued", "queued"}, s.rowStates("b")); diff != "" {
			t.Errorf("states of the rows (-want +got):\n%s", diff)
		}
		if b := s.batchStatus("b"); b.State != "running" || b.Canceled != 1 {
			t.Errorf("batch %+v", b)
		}
		s.checkRun(exitOK, "b: 3 canceled\n", "cancel", "b")
		s.checkRun(exitOK, "b: is canceled already\n", "cancel", "b")
		s.checkRun(exitOK, "b.3: is canceled already\n", "cancel", "b.3")
		if diff := cmp.Diff([]string{"canceled", "canceled", "canceled", "canceled"}, s.rowStates("b")); diff != "" {
			t.Errorf("states of the rows (-want +got):\n%s", diff)
		}
		if b := s.batchStatus("b"); b.State != "canceled" || b.Canceled != 4 || b.Queued != 0 {
			t.Errorf("batch %+v", b)
		}
		s.checkRun(exitOK, "canceled", "status", "b.4")
		s.checkRun(exitFailed, "", "wait", "b", "b.4")
		s.checkRun(exitFailed, "nothing left to send", "pause", "b")

		s.checkRun(exitOK, "b.4: queued again\n", "retry", "b.4")
		s.startWorker()
		s.checkRun(exitOK, "succeeded", "wait", "b.4")
		if diff := cmp.Diff([]string{"canceled", "canceled", "canceled", "succeeded"}, s.rowStates("b")); diff != "" {
			t.Errorf("states of the rows (-want +got):\n%s", diff)
		}
		if n := s.sim.State().Tasks.Created; n != 1 {
			t.Errorf("%d tasks created, want 1", n)
		}
	})

	t.Run("batch in progress: every room succeeds or is canceled", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, tiwtest.Options{Latency: 200 * time.Millisecond})
		s.startWorker()
		s.enqueueBatch("b", 200)
		if err := s.sim.WaitRequests(t.Context(), 5); err != nil {
			t.Fatal(err)
		}
		s.checkRun(exitOK, "canceled", "cancel", "b")
		s.checkRun(exitFailed, "canceled", "wait", "b")
		b := s.batchStatus("b")
		if b.Succeeded < 5 || b.Canceled < 100 || b.Succeeded+b.Canceled != 200 {
			t.Errorf("batch %+v", b)
		}
		if n := s.sim.State().Tasks.Created; n != int64(b.Succeeded) {
			t.Errorf("%d tasks created, %d succeeded", n, b.Succeeded)
		}
	})

	t.Run("accepted: cannot be canceled", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, tiwtest.Options{})
		s.environ["TIWSNAP_CONFIRM_AFTER"] = "1h"
		s.startWorker()
		s.enqueueBatch("b", 2)
		s.waitForBatch("b", "is accepted", func(b batchJSON) bool { return b.Accepted == 2 })
		s.checkRun(exitFailed, "b.1: cannot be canceled: Tencent has accepted it\n", "cancel", "b.1")
		s.checkRun(exitFailed, "b: nothing left to cancel: 2 accepted", "cancel", "b")
		if b := s.batchStatus("b"); b.State != "running" {
			t.Errorf("batch %+v", b)
		}
	})

	t.Run("request in flight", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, tiwtest.Options{})
		s.enqueueBatch("b", 1)
		l := s.takeSnapshot()
		p := tasks.SnapshotPayload{ID: "b.1", Batch: "b", Room: tasks.Room{SdkAppId: 1400123480, RoomId: 1}}
		in, err := l.Begin(t.Context(), p, "x", "")
		if err != nil {
			t.Fatal(err)
		}
		s.checkRun(exitOK, "b.1: a request is in flight; it will be canceled unless Tencent accepts that request\n",
			"cancel", "b.1")
		s.checkRun(exitOK, "1 in the queue will be canceled, unless accepted by Tencent first", "cancel", "b")
		if err := l.Outcome(t.Context(), p.ID, in.Attempt, ledger.Outcome{State: ledger.Unknown}); err != nil {
			t.Fatal(err)
		}
		s.checkRun(exitOK, "b: is canceled already\n", "cancel", "b")
	})

	t.Run("several ids: highest exit code", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, tiwtest.Options{})
		s.enqueueBatch("b", 1)
		s.checkRun(exitUsage, "there is no snapshot or batch none", "cancel", "none", "b")
		for _, id := range []string{"b.2", "none.1", "s-none"} {
			s.checkRun(exitUsage, "there is no snapshot or batch "+id, "cancel", id)
		}
		if b := s.batchStatus("b"); b.State != "canceled" {
			t.Errorf("batch %+v", b)
		}
	})
}

// The outcome for each id is available as JSON too.
func TestOutcomesAsJSON(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	s.enqueueBatches(2)
	for _, tt := range []struct {
		code int
		args []string
		want string
	}{
		{exitOK, []string{"pause", "b-1"},
			`{"results":[{"id":"b-1","done":true,"message":"paused; rooms that are already in the queue are still sent"}]}`},
		{exitOK, []string{"resume", "b-1"}, `{"results":[{"id":"b-1","done":true,"message":"resumed"}]}`},
		{exitFailed, []string{"retry", "b-1", "--failed"},
			`{"results":[{"id":"b-1","done":false,"message":"nothing to retry: no snapshot failed"}]}`},
		{exitUsage, []string{"cancel", "none", "b-2"},
			`{"results":[{"id":"none","done":false,"message":"there is no snapshot or batch none; records are kept ` +
				`for 168h after the end"},` +
				`{"id":"b-2","done":true,"message":"1 canceled"}]}`},
		{exitFailed, []string{"webhooks", "resend", "--all"},
			`{"results":[{"id":"all","done":false,"message":"nothing to resend: all webhooks were delivered"}]}`},
	} {
		code, stdout, stderr := s.run("", append(tt.args, "-o", "json")...)
		var got, want any
		if err := json.Unmarshal([]byte(stdout), &got); err != nil {
			t.Fatalf("%v: %v\n%s", tt.args, err, stdout)
		}
		if err := json.Unmarshal([]byte(tt.want), &want); err != nil {
			t.Fatal(err)
		}
		if code != tt.code || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%v: exit code %d, %s%s", tt.args, code, stdout, stderr)
		}
	}
	if _, stdout, _ := s.run("", "cancel", "none", "b-1", "-o", "jsonl"); strings.Count(stdout, "\n") != 2 {
		t.Errorf("-o jsonl: want 2 lines:\n%s", stdout)
	}
}
