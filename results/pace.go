package results

import (
	"time"

	"tiwsnap/ledger"
)

// paceOver is the time over which a rate is taken.
const paceOver = 5 * time.Second

// Pace is how fast a batch gets on, from looks at it. The zero value is ready.
type Pace struct {
	marks []mark // of the last paceOver and one before
}

type mark struct {
	at   time.Time
	done int
}

// Look takes in how far the batch is now.
func (p *Pace) Look(now time.Time, b ledger.Batch) {
	if n := len(p.marks); n > 0 && (p.marks[n-1].done == 0 || p.marks[n-1].done > b.Done()) {
		p.marks = p.marks[:0] // the rate is that since the first result, or since a retry
	}
	p.marks = append(p.marks, mark{now, b.Done()})
	for len(p.marks) > 2 && now.Sub(p.marks[0].at) > paceOver {
		p.marks = p.marks[1:]
	}
}

// Rate is how many snapshots ended a second, over the last seconds. It is 0
// where too little was seen to say.
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

// Left is the time until the batch ends at that rate, and 0 where the rate is.
func Left(b ledger.Batch, rate float64) time.Duration {
	if rate <= 0 {
		return 0
	}
	return time.Duration(float64(b.Total-b.Done()) / rate * float64(time.Second))
}
