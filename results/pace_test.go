package results_test

import (
	"testing"
	"time"

	"tiwsnap/ledger"
	"tiwsnap/results"
)

func TestPace(t *testing.T) {
	at := time.Now()
	batch := func(done int) ledger.Batch { return ledger.Batch{Total: 100, Succeeded: done} }
	var p results.Pace
	add := func(after time.Duration, done int, rate float64) {
		t.Helper()
		at = at.Add(after)
		p.Add(at, batch(done))
		if got := p.Rate(); got != rate {
			t.Errorf("Rate() = %g, want %g", got, rate)
		}
	}
	add(0, 0, 0)
	add(9*time.Second, 0, 0) // nothing yet
	add(time.Second, 10, 0)  // the first results: their start is unknown
	add(time.Second, 20, 10)
	add(time.Second, 40, 15)
	add(5*time.Second, 40, 0) // nothing in the last seconds
	add(time.Second, 30, 0)   // some were retried
	add(time.Second, 35, 5)
	if left := results.Left(batch(35), p.Rate()); left != 13*time.Second {
		t.Errorf("Left() = %s, want 13s", left)
	}
	if left := results.Left(batch(35), 0); left != 0 {
		t.Errorf("Left() at rate 0 = %s, want 0", left)
	}
}
