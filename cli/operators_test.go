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

// says runs a command and checks its exit code. The words must be in its stdout or stderr.
func (s site) says(code int, words string, args ...string) {
	s.Helper()
	got, stdout, stderr := s.run("", args...)
	if got != code || !strings.Contains(stdout+stderr, words) {
		s.Errorf("tiwsnap %s: exit code %d, want %d; it does not say %q but\n%s%s", strings.Join(args, " "), got, code,
			words, stdout, stderr)
	}
}

// batch enqueues rooms 1 to n.
func (s site) batch(name string, n int) {
	s.Helper()
	list := "RoomId\n"
	for i := range n {
		list += fmt.Sprintln(i + 1)
	}
	if code, _, stderr := s.run(list, "enqueue", "batch", "-", "--app", "1400123480", "--name", name); code != exitOK {
		s.Fatalf("exit code %d: %s", code, stderr)
	}
}

// states returns the states of a batch's rows from its result list.
func (s site) states(batch string) (states []string) {
	s.Helper()
	header, rows := table(s.T, s.ok("status", batch, "-o", "csv"))
	for _, row := range rows {
		states = append(states, row[header["State"]])
	}
	return states
}

type batchJSON struct {
	State                                 string
	Queued, Accepted, Succeeded, Canceled int
}

func (s site) status(batch string) (b batchJSON) {
	s.Helper()
	if err := json.Unmarshal([]byte(s.ok("status", batch, "-o", "json")), &b); err != nil {
		s.Fatal(err)
	}
	return b
}

// until polls the batch every 20 ms until ok returns true.
func (s site) until(batch, what string, ok func(batchJSON) bool) {
	s.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(time.Minute); ; {
		b := s.status(batch)
		if ok(b) {
			return
		}
		select {
		case <-deadline:
			s.Fatalf("not within a minute: batch %s %s; it is %+v", batch, what, b)
		case <-tick.C:
		}
	}
}

// fed takes one snapshot of the only batch, as a worker does. It returns a ledger that holds unknown outcomes for
// review.
func (s site) fed() *ledger.Ledger {
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
	t.Run("of a room that waits on the queue", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, tiwtest.Options{})
		id := strings.TrimSpace(s.ok("enqueue", "room", "--app", "1400123480", "--room", "7"))
		other := strings.TrimSpace(s.ok("enqueue", "room", "--app", "1400123480", "--room", "8"))
		s.says(exitOK, id+": canceled\n", "cancel", id)
		s.says(exitOK, id+": is canceled already\n", "cancel", id)
		s.says(exitOK, "room 7 of app", "status", id)
		s.worker()
		s.ok("wait", other)
		s.says(exitFailed, "canceled", "wait", id)
		s.says(exitFailed, other+": cannot be canceled: it has succeeded already\n", "cancel", other)
		if n := s.sim.State().Tasks.Created; n != 1 {
			t.Errorf("%d tasks made, want 1", n)
		}
	})

	t.Run("of a batch that waits, and of its rows", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, tiwtest.Options{})
		s.batch("b", 4)
		s.says(exitOK, "b.2: canceled\n", "cancel", "b.2")
		if diff := cmp.Diff([]string{"queued", "canceled", "queued", "queued"}, s.states("b")); diff != "" {
			t.Error(diff)
		}
		if b := s.status("b"); b.State != "running" || b.Canceled != 1 {
			t.Errorf("%+v", b)
		}
		s.says(exitOK, "b: 3 canceled\n", "cancel", "b")
		s.says(exitOK, "b: is canceled already\n", "cancel", "b")
		s.says(exitOK, "b.3: is canceled already\n", "cancel", "b.3")
		if diff := cmp.Diff([]string{"canceled", "canceled", "canceled", "canceled"}, s.states("b")); diff != "" {
			t.Error(diff)
		}
		if b := s.status("b"); b.State != "canceled" || b.Canceled != 4 || b.Queued != 0 {
			t.Errorf("%+v", b)
		}
		s.says(exitOK, "canceled", "status", "b.4")
		s.says(exitFailed, "", "wait", "b", "b.4")
		s.says(exitFailed, "nothing left to send", "pause", "b")

		s.says(exitOK, "b.4: queued again\n", "retry", "b.4")
		s.worker()
		s.says(exitOK, "succeeded", "wait", "b.4")
		if diff := cmp.Diff([]string{"canceled", "canceled", "canceled", "succeeded"}, s.states("b")); diff != "" {
			t.Error(diff)
		}
		if n := s.sim.State().Tasks.Created; n != 1 {
			t.Errorf("%d tasks made, want 1", n)
		}
	})

	t.Run("of a batch in progress ends every room, as succeeded or canceled", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, tiwtest.Options{Latency: 200 * time.Millisecond})
		s.worker()
		s.batch("b", 200)
		if err := s.sim.WaitRequests(t.Context(), 5); err != nil {
			t.Fatal(err)
		}
		s.says(exitOK, "canceled", "cancel", "b")
		s.says(exitFailed, "canceled", "wait", "b")
		b := s.status("b")
		if b.Succeeded < 5 || b.Canceled < 100 || b.Succeeded+b.Canceled != 200 {
			t.Errorf("%+v", b)
		}
		if n := s.sim.State().Tasks.Created; n != int64(b.Succeeded) {
			t.Errorf("%d tasks made, and %d succeeded", n, b.Succeeded)
		}
	})

	t.Run("comes too late for what is accepted", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, tiwtest.Options{})
		s.environ["TIWSNAP_CONFIRM_AFTER"] = "1h"
		s.worker()
		s.batch("b", 2)
		s.until("b", "is accepted", func(b batchJSON) bool { return b.Accepted == 2 })
		s.says(exitFailed, "b.1: cannot be canceled: Tencent has accepted it\n", "cancel", "b.1")
		s.says(exitFailed, "b: nothing left to cancel: 2 accepted", "cancel", "b")
		if b := s.status("b"); b.State != "running" {
			t.Errorf("%+v", b)
		}
	})

	t.Run("while a request is out", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, tiwtest.Options{})
		s.batch("b", 1)
		l := s.fed()
		p := tasks.SnapshotPayload{ID: "b.1", Batch: "b", Room: tasks.Room{SdkAppId: 1400123480, RoomId: 1}}
		in, err := l.Begin(t.Context(), p, "x", "")
		if err != nil {
			t.Fatal(err)
		}
		s.says(exitOK, "b.1: a request is in flight; it will be canceled unless Tencent accepts that request\n",
			"cancel", "b.1")
		s.says(exitOK, "1 in the queue will be canceled, unless Tencent accepts them first", "cancel", "b")
		if err := l.Outcome(t.Context(), p.ID, in.Attempt, ledger.Outcome{State: ledger.Unknown}); err != nil {
			t.Fatal(err)
		}
		s.says(exitOK, "b: is canceled already\n", "cancel", "b")
	})

	t.Run("of several ids says each and exits with the worst", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, tiwtest.Options{})
		s.batch("b", 1)
		s.says(exitUsage, "there is no snapshot or batch none", "cancel", "none", "b")
		for _, id := range []string{"b.2", "none.1", "s-none"} {
			s.says(exitUsage, "there is no snapshot or batch "+id, "cancel", id)
		}
		if b := s.status("b"); b.State != "canceled" {
			t.Errorf("%+v", b)
		}
	})
}

func TestPause(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	s.batch("large", 40)
	s.says(exitOK, "large: paused", "pause", "large")
	s.worker()
	s.batch("small", 3)
	s.ok("wait", "small") // the feeder has run meanwhile
	if b := s.status("large"); b.State != "paused" || b.Queued != 40 {
		t.Errorf("%+v", b)
	}
	_, batches := table(t, s.ok("status", "-o", "csv"))
	if len(batches) != 2 || batches[0][1] != "ended" || batches[1][1] != "paused" {
		t.Errorf("overview: %v", batches)
	}
	s.says(exitOK, "large: resumed", "resume", "large")
	s.ok("wait", "large")
	s.says(exitFailed, "nothing left to send: the batch is ended", "pause", "large")
	s.says(exitUsage, "there is no snapshot or batch none", "pause", "none")
	s.says(exitUsage, "there is no snapshot or batch none", "resume", "none")
}

func TestFailuresAndRetry(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{Faults: tiwtest.Faults{Code: 1, CodeName: "InvalidParameter"}})
	s.says(exitOK, "no failures", "failures")
	stop := s.worker()
	s.batch("a", 3)
	s.says(exitFailed, "", "wait", "a")
	if err := s.sim.SetFaults(tiwtest.Faults{Code: 1, CodeName: "UnsupportedOperation.Whatever"}); err != nil {
		t.Fatal(err)
	}
	s.batch("b", 1)
	single := strings.TrimSpace(s.ok("enqueue", "room", "--app", "1400123480", "--room", "9"))
	s.says(exitFailed, "", "wait", "b", single)

	var groups struct {
		Failures []struct {
			Code, Class, Meaning, Fix string
			Count                     int
			Newest                    struct {
				ID, Message string
				RequestID   string `json:"request_id"`
			}
		}
	}
	out := s.ok("failures", "-o", "json")
	if err := json.Unmarshal([]byte(out), &groups); err != nil || len(groups.Failures) != 2 {
		t.Fatalf("%v:\n%s", err, out)
	}
	first, second := groups.Failures[0], groups.Failures[1]
	if first.Code != "InvalidParameter" || first.Class != "permanent" || first.Count != 3 ||
		first.Meaning != "a parameter is wrong" ||
		!strings.Contains(first.Fix, "correct the room's parameters") || !strings.HasPrefix(first.Newest.ID, "a.") ||
		first.Newest.Message == "" || first.Newest.RequestID == "" {
		t.Errorf("%+v", first)
	}
	if second.Code != "UnsupportedOperation.Whatever" || second.Count != 2 || second.Newest.ID == "" {
		t.Errorf("%+v", second)
	}
	header, rows := table(t, s.ok("failures", "--batch", "a", "-o", "csv"))
	if len(rows) != 1 || rows[0][header["Code"]] != "InvalidParameter" || rows[0][header["Count"]] != "3" {
		t.Errorf("%v", rows)
	}
	if lines := strings.Count(s.ok("failures", "-o", "jsonl"), "\n"); lines != 2 {
		t.Errorf("%d lines", lines)
	}
	for _, words := range []string{"InvalidParameter", "permanent", "a parameter is wrong",
		"correct the room's parameters", "RequestId"} {
		s.says(exitOK, words, "failures")
	}
	if _, rows := table(t, s.ok("failures", "--list", "-o", "csv")); len(rows) != 5 {
		t.Errorf("%v", rows)
	}
	if lines := strings.Count(s.ok("failures", "--list", "-o", "jsonl"), "\n"); lines != 5 {
		t.Errorf("%d lines", lines)
	}
	for _, id := range []string{"a.1", "a.2", "a.3", "b.1", single} {
		s.says(exitOK, id+" ", "failures", "--list")
	}
	s.says(exitUsage, "there is no snapshot or batch none", "failures", "--batch", "none")
	var listed struct{ Failures []struct{ ID string } }
	if err := json.Unmarshal([]byte(s.ok("failures", "--list", "-o", "json")), &listed); err != nil ||
		len(listed.Failures) != 5 {
		t.Errorf("%+v, %v", listed, err)
	}

	stop() // what is retried stays queued
	if err := s.sim.SetFaults(tiwtest.Faults{}); err != nil {
		t.Fatal(err)
	}
	s.says(exitFailed,
		"a: nothing to retry: no snapshot that failed has the code UnsupportedOperation; they have InvalidParameter (3)\n",
		"retry", "a", "--failed", "--code", "UnsupportedOperation")
	s.says(exitFailed, "a: nothing to retry: no snapshot is held for review\n", "retry", "a", "--held")
	s.says(exitOK, "b: 1 queued for retry\n", "retry", "b", "--failed", "--code", "UnsupportedOperation") // a prefix
	s.says(exitOK, "a.2: queued again\n", "retry", "a.2")
	s.says(exitOK, "a: 2 queued for retry\n", "retry", "a", "--failed", "--code", "InvalidParameter")
	s.says(exitOK, single+": queued again\n", "retry", single)
	s.says(exitFailed, single+": is queued: only failed, canceled and held snapshots can be retried\n", "retry", single)
	s.says(exitOK, "no failures", "failures")
	s.worker()
	s.ok("wait", "a", "b", single)
	if n := s.sim.State().Tasks.Created; n != 5 {
		t.Errorf("%d tasks made, want 5", n)
	}
	s.says(exitFailed, "a.1: is succeeded: only", "retry", "a.1")
	s.says(exitFailed, "a: nothing to retry: no snapshot failed\n", "retry", "a", "--failed")
	s.says(exitUsage, "a is a batch: add --failed or --held", "retry", "a")
	s.says(exitUsage, "needs --failed or --held", "retry", "a.1", "--code", "X")
	s.says(exitUsage, "", "retry", "a", "--failed", "--held")
	s.says(exitUsage, "there is no snapshot or batch none", "retry", "none")
	s.says(exitUsage, "there is no snapshot or batch none", "retry", "none", "--failed")
}

func TestHeld(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	s.batch("b", 2)
	l := s.fed()
	for _, p := range []tasks.SnapshotPayload{
		{ID: "b.1", Batch: "b", Room: tasks.Room{SdkAppId: 1400123480, RoomId: 1}},
		{ID: "s-held", Room: tasks.Room{SdkAppId: 1400123480, RoomId: 9}},
	} {
		in, err := l.Begin(t.Context(), p, "x", "")
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Outcome(t.Context(), p.ID, in.Attempt,
			ledger.Outcome{State: ledger.Unknown, Code: "InternalError"}); err != nil {
			t.Fatal(err)
		}
		if in, err := l.Begin(t.Context(), p, "y", ""); err != nil || in.Verdict != ledger.Done {
			t.Fatalf("%+v, %v", in, err)
		}
	}
	s.says(exitOK, "for review: decide with tiwsnap retry", "status", "b.1")
	s.says(exitOK, "b.1       room", "failures", "--held", "--list")
	s.says(exitOK, "s-held    room", "failures", "--held", "--list")
	s.says(exitOK, "something failed inside Tencent", "failures", "--held")
	s.says(exitOK, "no failures", "failures")
	s.says(exitOK, "b: 1 queued for retry\n", "retry", "b", "--held", "--code", "InternalError")
	s.says(exitOK, "s-held: queued again\n", "retry", "s-held")
	s.says(exitOK, "no failures", "failures", "--held")
	s.worker()
	s.ok("wait", "b", "s-held")
	if out := s.ok("status", "b.1"); !strings.Contains(out, "possible duplicates") || strings.Contains(out, "for review") {
		t.Errorf("%s", out)
	}
}

func TestStopAndStart(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	if code, out, stderr := s.run("", "start"); code != exitOK || out != "sending was not stopped\n" || stderr != "" {
		t.Errorf("exit code %d, %q, %q", code, out, stderr)
	}
	if code, out, _ := s.run("", "stop", "--reason", "exams until 6"); code != exitOK ||
		!strings.HasPrefix(out, "sending is stopped") {
		t.Errorf("exit code %d, %q", code, out)
	}
	_, _, stderr := s.run("", "status")
	if !strings.HasPrefix(stderr, "Sending is stopped since ") ||
		!strings.Contains(stderr, ": exams until 6. It waits for tiwsnap start. Fix: tiwsnap start") {
		t.Errorf("%q", stderr)
	}
	if code, out, _ := s.run("", "start"); code != exitOK || out != "sending has started; it was stopped by a person\n" {
		t.Errorf("exit code %d, %q", code, out)
	}
	if _, _, stderr := s.run("", "status"); stderr != noWorker+"no batches\n" {
		t.Errorf("%q", stderr)
	}
	if code, _, stderr := s.run("", "stop", "--reason", strings.Repeat("x", 201)); code != exitUsage ||
		!strings.Contains(stderr, "201 bytes") {
		t.Errorf("exit code %d, %q", code, stderr)
	}
}
