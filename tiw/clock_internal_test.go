package tiw

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// Waiting for a minute needs fake time, which a real connection does not support.
func TestClockOffsetIsKeptForAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c clock
		corrects := func(off time.Duration) bool {
			return c.correct(c.now(), time.Now().Add(off).UTC().Format(http.TimeFormat))
		}
		if !corrects(time.Hour) || c.learntOffset() != time.Hour {
			t.Fatalf("offset is %s, want 1h", c.learntOffset())
		}
		time.Sleep(clockHold - time.Second)
		if corrects(-time.Hour) || c.learntOffset() != time.Hour {
			t.Errorf("offset is %s within a minute, want 1h", c.learntOffset())
		}
		time.Sleep(time.Second)
		if !corrects(-time.Hour) || c.learntOffset() != -time.Hour {
			t.Errorf("offset is %s after a minute, want -1h", c.learntOffset())
		}
		time.Sleep(clockHold)
		if !corrects(0) || c.learntOffset() != 0 {
			t.Errorf("offset is %s after the clock was set, want 0", c.learntOffset())
		}
	})
}
