package cli

import (
	"encoding/json"
	"slices"
	"testing"

	"tiwsnap/internal/audit"
	"tiwsnap/tiw/tiwtest"
)

// The audit log has every change by a command, and the user who made it.
func TestAuditLogRecordsCommands(t *testing.T) {
	s := newSite(t, tiwtest.Options{})
	s.checkRun(exitOK, "the audit log is empty", "audit")
	s.enqueueBatch("monday", 3)
	s.mustRun("pause", "monday")
	s.mustRun("resume", "monday")
	s.mustRun("cancel", "monday.2")
	s.mustRun("cancel", "monday")
	s.mustRun("retry", "monday.1")
	s.mustRun("stop", "--reason", "exam")
	s.mustRun("start")
	s.mustRun("limit", "10")
	s.checkRun(exitUsage, "", "cancel", "nobody") // changes nothing
	var log struct{ Entries []audit.Entry }
	if err := json.Unmarshal([]byte(s.mustRun("audit", "-o", "json")), &log); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range log.Entries {
		got = append(got, e.Action+" "+e.Object)
		if e.By != currentUser() || e.Via != audit.Command {
			t.Errorf("entry %+v, want by %s, via %s", e, currentUser(), audit.Command)
		}
	}
	slices.Reverse(got)
	want := []string{
		"create-batch monday", "pause-batch monday", "resume-batch monday", "cancel monday.2", "cancel monday",
		"retry monday.1",
		"stop-sending ", "start-sending ", "set-limit ",
	}
	if !slices.Equal(got, want) {
		t.Errorf("the audit log has\n%q\nwant\n%q", got, want)
	}
}
