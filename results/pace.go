package results

import (
	"time"

	"tiwsnap/ledger"
)

// paceOver is the interval over which the rate is measured.
const paceOver = 5 * time.Second

// Pace measures the progress of a batch. The zero value is ready to use.
type Pace struct {
	marks []mark // of the last paceOver, and one before
}

// mark is a number of ended snapshots at a time.
type mark struct {
	at   time.Time
	done int
}

// Add adds a reading of the batch.
func (p *Pace) Add(now time.Time, b ledger.Batch) {
	if n := len(p.marks); n > 0 && (p.marks[n-1].done == 0 || p.marks[n-1].done > b.Done()) {
		p.marks = p.marks[:0] // start again at the first result, and after a retry
	}
	p.marks = append(p.marks, mark{now, b.Done()})
	for len(p.marks) > 2 && now.Sub(p.marks[0].at) > paceOver {
		p.marks = p.marks[1:]
	}
}

// Rate returns how many snapshots ended a second over the last five seconds; 0 until
// half a second is covered.
func (p *Pace) Rate() float64 {
	if len(p.marks) == 0 {
		return 0
	}
	first, last := p.marks[0], p.marks[len(p.marks)-1]
	elapsed := last.at.Sub(first.at).Seconds()
	if elapsed < 0.5 {
		return 0
	}
	return float64(last.done-first.done) / elapsed
}

// Left returns the time until the batch ends at a rate (1/s); 0 if the rate is 0.
func Left(b ledger.Batch, rate float64) time.Duration {
	if rate <= 0 {
		return 0
	}
	return time.Duration(float64(b.Total-b.Done()) / rate * float64(time.Second))
}
