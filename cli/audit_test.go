package cli

import (
	"encoding/json"
	"slices"
	"testing"

	"tiwsnap/internal/audit"
	"tiwsnap/tiw/tiwtest"
)

// The audit log has every change by a command, and the user who made it.
func TestTheAuditLogHasWhatCommandsChange(t *testing.T) {
	s := newSite(t, tiwtest.Options{})
	s.says(exitOK, "the audit log is empty", "audit")
	s.batch("monday", 3)
	s.ok("pause", "monday")
	s.ok("resume", "monday")
	s.ok("cancel", "monday.2")
	s.ok("cancel", "monday")
	s.ok("retry", "monday.1")
	s.ok("stop", "--reason", "exam")
	s.ok("start")
	s.ok("limit", "10")
	s.says(exitUsage, "", "cancel", "nobody") // changes nothing
	var log struct{ Entries []audit.Entry }
	if err := json.Unmarshal([]byte(s.ok("audit", "-o", "json")), &log); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range log.Entries {
		got = append(got, e.Action+" "+e.Object)
		if e.By != currentUser() || e.Via != audit.Command {
			t.Errorf("%+v", e)
		}
	}
	slices.Reverse(got)
	want := []string{
		"create-batch monday", "pause-batch monday", "resume-batch monday", "cancel monday.2", "cancel monday",
		"retry monday.1",
		"stop-sending ", "start-sending ", "set-limit ",
	}
	if !slices.Equal(got, want) {
		t.Errorf("the log has\n%q\nwant\n%q", got, want)
	}
}
