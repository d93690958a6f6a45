package tiw

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// Waiting for a minute needs fake time, which a real connection does not support.
func TestWhatWasLearntOfAClockStaysForAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c clock
		refused := func(off time.Duration) bool {
			return c.correct(c.now(), time.Now().Add(off).UTC().Format(http.TimeFormat))
		}
		if !refused(time.Hour) || c.learntOffset() != time.Hour {
			t.Fatalf("learnt %s", c.learntOffset())
		}
		time.Sleep(clockHold - time.Second)
		if refused(-time.Hour) || c.learntOffset() != time.Hour {
			t.Errorf("learnt %s within a minute", c.learntOffset())
		}
		time.Sleep(time.Second)
		if !refused(-time.Hour) || c.learntOffset() != -time.Hour {
			t.Errorf("learnt %s after a minute", c.learntOffset())
		}
		time.Sleep(clockHold)
		if !refused(0) || c.learntOffset() != 0 {
			t.Errorf("learnt %s when the clock was set", c.learntOffset())
		}
	})
}
