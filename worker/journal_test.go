package worker_test

import (
	"regexp"
	"strings"
	"testing"

	"tiwsnap/internal/audit"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/internal/syncbuf"
	"tiwsnap/tiw/tiwtest"
)

// logBuffer is a log to which several workers write.
type logBuffer struct{ syncbuf.Buffer }

// find returns the lines with this message.
func (l *logBuffer) find(message string) (found []string) {
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, "msg="+message+" ") {
			found = append(found, line)
		}
	}
	return found
}

// Three workers log each event once in total.
func TestEventsAreLoggedOnce(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	w := newWorld(t, redistest.Client(t), tiwtest.Options{})
	log := &logBuffer{}
	w.log = log
	var stops []func()
	for range 3 {
		stops = append(stops, w.work())
	}
	changes := audit.New(w.rdb, keys.Default)
	add := func(action string) {
		t.Helper()
		entry := audit.Entry{By: "ann@desk", Via: audit.Command, From: "192.0.2.7", Action: action, Object: "a",
			Detail: "why"}
		if err := changes.Add(t.Context(), entry); err != nil {
			t.Fatal(err)
		}
	}
	w.eventually("a worker has read the journal", func() bool {
		return w.rdb.Exists(t.Context(), keys.Default.Journal()).Val() == 1
	})
	w.enqueue("a", 30)
	add("pause-batch")
	w.waitForEnd("a")
	w.eventually("the log has all events", func() bool {
		return len(log.find(`"batch enqueued"`)) > 0 && len(log.find(`"batch ended"`)) > 0 &&
			len(log.find(`"operator action"`)) > 0
	})
	for _, stop := range stops { // after the last read of the journal
		stop()
	}
	for message, want := range map[string]string{
		`"batch enqueued"`: ` batch=a rooms=30 `,
		`"batch started"`:  ` batch=a rooms=30 waited=`,
		`"batch ended"`: ` duration=[0-9.]+m?s rate=[0-9.]+/s batch=a rooms=30 succeeded=30 no_image=0 ` +
			`failed=0 canceled=0 `,
		`"operator action"`: ` from=192.0.2.7 object=a detail=why action=pause-batch by=ann@desk via=command at=`,
	} {
		found := log.find(message)
		if len(found) != 1 || !regexp.MustCompile(want).MatchString(found[0]) {
			t.Errorf("log lines of %s = %q, want one that matches %q", message, found, want)
		}
	}

	// The next worker logs what happens while no worker runs.
	w.enqueue("b", 1)
	add("stop-sending")
	w.work()
	w.waitForEnd("b")
	w.eventually("the log has the new events", func() bool {
		return len(log.find(`"batch enqueued"`)) == 2 && len(log.find(`"batch ended"`)) == 2 &&
			len(log.find(`"operator action"`)) == 2
	})
}
