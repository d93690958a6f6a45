package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"tiwsnap/internal/needs"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
	"tiwsnap/tiw/tiwtest"
)

func TestFailuresAndRetry(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{Faults: tiwtest.Faults{Code: 1, CodeName: "InvalidParameter"}})
	s.checkRun(exitOK, "no failures", "failures")
	stop := s.startWorker()
	s.enqueueBatch("a", 3)
	s.checkRun(exitFailed, "", "wait", "a")
	if err := s.sim.SetFaults(tiwtest.Faults{Code: 1, CodeName: "UnsupportedOperation.Whatever"}); err != nil {
		t.Fatal(err)
	}
	s.enqueueBatch("b", 1)
	single := strings.TrimSpace(s.mustRun("enqueue", "room", "--app", "1400123480", "--room", "9"))
	s.checkRun(exitFailed, "", "wait", "b", single)

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
	out := s.mustRun("failures", "-o", "json")
	if err := json.Unmarshal([]byte(out), &groups); err != nil || len(groups.Failures) != 2 {
		t.Fatalf("%v:\n%s", err, out)
	}
	first, second := groups.Failures[0], groups.Failures[1]
	if first.Code != "InvalidParameter" || first.Class != "permanent" || first.Count != 3 ||
		first.Meaning != "a parameter is wrong" ||
		!strings.Contains(first.Fix, "correct the room's parameters") || !strings.HasPrefix(first.Newest.ID, "a.") ||
		first.Newest.Message == "" || first.Newest.RequestID == "" {
		t.Errorf("first failure %+v", first)
	}
	if second.Code != "UnsupportedOperation.Whatever" || second.Count != 2 || second.Newest.ID == "" {
		t.Errorf("second failure %+v", second)
	}
	header, rows := parseCSV(t, s.mustRun("failures", "--batch", "a", "-o", "csv"))
	if len(rows) != 1 || rows[0][header["Code"]] != "InvalidParameter" || rows[0][header["Count"]] != "3" {
		t.Errorf("failures of batch a: %v", rows)
	}
	if lines := strings.Count(s.mustRun("failures", "-o", "jsonl"), "\n"); lines != 2 {
		t.Errorf("failures -o jsonl has %d lines, want 2", lines)
	}
	for _, words := range []string{"InvalidParameter", "permanent", "a parameter is wrong",
		"correct the room's parameters", "RequestId"} {
		s.checkRun(exitOK, words, "failures")
	}
	if _, rows := parseCSV(t, s.mustRun("failures", "--list", "-o", "csv")); len(rows) != 5 {
		t.Errorf("failures --list has %d rows, want 5: %v", len(rows), rows)
	}
	if lines := strings.Count(s.mustRun("failures", "--list", "-o", "jsonl"), "\n"); lines != 5 {
		t.Errorf("failures --list -o jsonl has %d lines, want 5", lines)
	}
	for _, id := range []string{"a.1", "a.2", "a.3", "b.1", single} {
		s.checkRun(exitOK, id+" ", "failures", "--list")
	}
	s.checkRun(exitUsage, "there is no snapshot or batch none", "failures", "--batch", "none")
	var listed struct{ Failures []struct{ ID string } }
	if err := json.Unmarshal([]byte(s.mustRun("failures", "--list", "-o", "json")), &listed); err != nil ||
		len(listed.Failures) != 5 {
		t.Errorf("failures --list -o json: %+v, want 5 (%v)", listed, err)
	}

	stop() // what is retried stays queued
	if err := s.sim.SetFaults(tiwtest.Faults{}); err != nil {
		t.Fatal(err)
	}
	s.checkRun(exitFailed,
		"a: nothing to retry: no snapshot that failed has the code UnsupportedOperation; they have InvalidParameter (3)\n",
		"retry", "a", "--failed", "--code", "UnsupportedOperation")
	s.checkRun(exitFailed, "a: nothing to retry: no snapshot is held for review\n", "retry", "a", "--held")
	s.checkRun(exitOK, "b: 1 queued for retry\n", "retry", "b", "--failed", "--code", "UnsupportedOperation") // a prefix
	s.checkRun(exitOK, "a.2: queued again\n", "retry", "a.2")
	s.checkRun(exitOK, "a: 2 queued for retry\n", "retry", "a", "--failed", "--code", "InvalidParameter")
	s.checkRun(exitOK, single+": queued again\n", "retry", single)
	s.checkRun(exitFailed, single+": the state is queued: only failed, canceled and held snapshots can be retried\n",
		"retry", single)
	s.checkRun(exitOK, "no failures", "failures")
	s.startWorker()
	s.mustRun("wait", "a", "b", single)
	if n := s.sim.State().Tasks.Created; n != 5 {
		t.Errorf("%d tasks created, want 5", n)
	}
	s.checkRun(exitFailed, "a.1: the state is succeeded: only", "retry", "a.1")
	s.checkRun(exitFailed, "a: nothing to retry: no snapshot failed\n", "retry", "a", "--failed")
	s.checkRun(exitUsage, "a is a batch: add --failed or --held", "retry", "a")
	s.checkRun(exitUsage, "needs --failed or --held", "retry", "a.1", "--code", "X")
	s.checkRun(exitUsage, "", "retry", "a", "--failed", "--held")
	s.checkRun(exitUsage, "there is no snapshot or batch none", "retry", "none")
	s.checkRun(exitUsage, "there is no snapshot or batch none", "retry", "none", "--failed")
}

func TestHeldForReview(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	s.enqueueBatch("b", 2)
	l := s.takeSnapshot()
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
			t.Fatalf("Begin() = %+v, %v, want Done", in, err)
		}
	}
	s.checkRun(exitOK, "for review: decide with tiwsnap retry", "status", "b.1")
	s.checkRun(exitOK, "b.1       room", "failures", "--held", "--list")
	s.checkRun(exitOK, "s-held    room", "failures", "--held", "--list")
	s.checkRun(exitOK, "something failed inside Tencent", "failures", "--held")
	s.checkRun(exitOK, "no failures", "failures")
	s.checkRun(exitOK, "b: 1 queued for retry\n", "retry", "b", "--held", "--code", "InternalError")
	s.checkRun(exitOK, "s-held: queued again\n", "retry", "s-held")
	s.checkRun(exitOK, "no failures", "failures", "--held")
	s.startWorker()
	s.mustRun("wait", "b", "s-held")
	out := s.mustRun("status", "b.1")
	if !strings.Contains(out, "possible duplicates") || strings.Contains(out, "for review") {
		t.Errorf("status after the retry: %s", out)
	}
}
