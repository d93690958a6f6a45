package cli

import (
	"testing"

	"tiwsnap/internal/needs"
	"tiwsnap/tiw/tiwtest"
)

func TestPause(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	s.enqueueBatch("large", 40)
	s.checkRun(exitOK, "large: paused", "pause", "large")
	s.startWorker()
	s.enqueueBatch("small", 3)
	s.mustRun("wait", "small") // the feeder has run meanwhile
	if b := s.batchStatus("large"); b.State != "paused" || b.Queued != 40 {
		t.Errorf("batch %+v", b)
	}
	_, batches := parseCSV(t, s.mustRun("status", "-o", "csv"))
	if len(batches) != 2 || batches[0][1] != "ended" || batches[1][1] != "paused" {
		t.Errorf("status lists %v, want small ended and large paused", batches)
	}
	s.checkRun(exitOK, "large: resumed", "resume", "large")
	s.mustRun("wait", "large")
	s.checkRun(exitFailed, "nothing left to send: the state is ended", "pause", "large")
	s.checkRun(exitUsage, "there is no snapshot or batch none", "pause", "none")
	s.checkRun(exitUsage, "there is no snapshot or batch none", "resume", "none")
}
