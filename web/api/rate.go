package api

import (
	"sync"
	"time"

	"tiwsnap/ledger"
	"tiwsnap/results"
)

const (
	// paceEvery is the shortest time between two measurements of a batch.
	paceEvery = 500 * time.Millisecond
	// paceFor is how long a batch is kept after its last request.
	paceFor = time.Minute
	// maxPaces bounds the batches that are kept.
	maxPaces = 1000
)

// paces measures the rate of batches while clients request them. The zero value is ready to use, and safe for
// concurrent use.
type paces struct {
	mu   sync.Mutex
	byID map[string]*measured
}

type measured struct {
	pace results.Pace
	at   time.Time
}

// WithRate adds to a batch how many of its snapshots end per second.
func (a *API) WithRate(b ledger.Batch) Batch { return a.paces.of(b) }

// of adds the rate to a batch, measured over the recent requests for it. The first request gets no rate: the average
// since the start is wrong after a pause or a retry.
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
			p.byID = map[string]*measured{}
		}
		e = &measured{}
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
