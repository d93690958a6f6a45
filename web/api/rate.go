package api

import (
	"sync"
	"time"

	"tiwsnap/ledger"
	"tiwsnap/results"
)

const (
	// paceEvery is the least time between two looks at a batch that count.
	paceEvery = 500 * time.Millisecond
	// paceFor is how long a batch is remembered that nobody asks for.
	paceFor = time.Minute
	// maxPaces bounds the batches that are remembered.
	maxPaces = 1000
)

// paces remembers how fast batches get on that somebody asks for. The zero value
// is ready, and safe for concurrent use.
type paces struct {
	mu   sync.Mutex
	byID map[string]*sight
}

type sight struct {
	pace results.Pace
	at   time.Time
}

// WithRate adds to a batch how many of its snapshots end per second.
func (a *API) WithRate(b ledger.Batch) Batch { return a.paces.of(b) }

// of adds to a batch how fast it gets on: over the last seconds in which it was
// asked for. Where nobody has nothing is said: what the batch has ended since it
// was enqueued says nothing of now, as after a pause or a retry.
func (p *paces) of(b ledger.Batch) Batch {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b.Ended() {
		delete(p.byID, b.ID)
		return Batch{Batch: b}
	}
	now := time.Now()
	e := p.byID[b.ID]
	if e == nil {
		if len(p.byID) >= maxPaces {
			p.forget(now)
		}
		if p.byID == nil {
			p.byID = map[string]*sight{}
		}
		e = &sight{}
		p.byID[b.ID] = e
	}
	if now.Sub(e.at) >= paceEvery {
		e.pace.Add(now, b)
		e.at = now
	}
	rate := e.pace.Rate()
	return Batch{b, rate, results.Left(b, rate).Seconds()}
}

func (p *paces) forget(now time.Time) {
	for id, e := range p.byID {
		if now.Sub(e.at) > paceFor {
			delete(p.byID, id)
		}
	}
	if len(p.byID) >= maxPaces {
		clear(p.byID)
	}
}
