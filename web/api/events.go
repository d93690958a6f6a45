package api

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"tiwsnap/gate"
	"tiwsnap/ledger"
	"tiwsnap/web"
)

const (
	// eventsEvery is the time between two reads of Redis, for all streams together.
	eventsEvery = time.Second
	// eventsBatches is how many of the newest batches the stream of all batches has.
	eventsBatches = 50
)

// Status is the event status of the stream of all batches.
type Status struct {
	Waiting int         `json:"waiting" doc:"Rooms that wait in all batches"`
	Limits  []Limit     `json:"limits"`
	Stopped []gate.Stop `json:"stopped" doc:"Why nothing is sent, or nothing for an application"`
}

// state is the result of one read of Redis.
type state struct {
	batches map[string][]byte // JSON of the newest batches and of those with their own stream
	ended   map[string]bool
	newest  []string // ids of the newest batches
	status  []byte   // JSON; nil unless there is a stream of all batches
	err     error
}

// watcher reads Redis once for all streams.
type watcher struct {
	a *API

	mu      sync.Mutex
	streams map[string]int // number of streams by batch; "": streams of all batches
	at      time.Time
	last    state
}

// open registers a stream.
func (w *watcher) open(batch string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.streams[batch]++
	w.at = time.Time{} // its batch may not have been read
}

func (w *watcher) close(batch string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.streams[batch]--; w.streams[batch] == 0 {
		delete(w.streams, batch)
	}
}

// poll returns the state, which is at most eventsEvery old.
func (w *watcher) poll(ctx context.Context) state {
	w.mu.Lock()
	defer w.mu.Unlock()
	if time.Since(w.at) < eventsEvery*9/10 {
		return w.last
	}
	// The read is for all streams: it does not end with this one.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	n, err := w.read(ctx)
	if err != nil {
		n = state{err: err}
	}
	w.at, w.last = time.Now(), n
	return n
}

func (w *watcher) read(ctx context.Context) (state, error) {
	n := state{batches: map[string][]byte{}, ended: map[string]bool{}}
	var all []ledger.Batch
	if w.streams[""] > 0 {
		newest, err := w.a.Ledger.Batches(ctx, eventsBatches)
		if err != nil {
			return n, err
		}
		for _, b := range newest {
			n.newest = append(n.newest, b.ID)
		}
		all = newest
		s, err := w.status(ctx)
		if err != nil {
			return n, err
		}
		if n.status, err = json.Marshal(s); err != nil {
			return n, err
		}
	}
	var more []string
	for id := range maps.Keys(w.streams) {
		if id != "" && !slices.Contains(n.newest, id) {
			more = append(more, id)
		}
	}
	others, err := w.a.Ledger.BatchesOf(ctx, more)
	if err != nil {
		return n, err
	}
	for _, b := range append(all, others...) {
		text, err := json.Marshal(w.a.WithRate(b))
		if err != nil {
			return n, err
		}
		n.batches[b.ID], n.ended[b.ID] = text, b.Ended()
	}
	return n, nil
}

func (w *watcher) status(ctx context.Context) (s Status, err error) {
	if s.Waiting, _, err = w.a.Backlog.Waiting(ctx); err != nil {
		return s, err
	}
	if s.Stopped, err = w.a.Results.Stops(ctx); err != nil {
		return s, err
	}
	s.Limits, err = w.a.Limits(ctx)
	for i := range s.Limits {
		s.Limits[i].Used = 0 // changes all the time
	}
	return s, err
}

// lastEvent is the id of the last event of a batch.
const lastEvent = "end"

type batchEventsInput struct {
	exchange
	ID   string `path:"id" maxLength:"64" doc:"Id of the batch"`
	Last string `header:"Last-Event-ID" doc:"As browsers send it where a stream broke off"`
}

// errEnded ends a stream without an error.
var errEnded = errors.New("nothing follows")

// follow streams the state of a batch, or of all, until update returns an error or the client is gone.
func (a *API) follow(x exchange, batch string, update func(*web.Stream, state) error) error {
	a.watcher.open(batch)
	defer a.watcher.close(batch)
	return a.Streams.Follow(x.w, x.r, eventsEvery, func(s *web.Stream) error {
		n := a.watcher.poll(x.r.Context())
		if n.err != nil {
			p, _ := json.Marshal(answerable(x.r.Context(), "events", n.err))
			return s.Send("trouble", "trouble", "", p)
		}
		s.Forget(func(key string) bool { return key == "trouble" })
		return update(s, n)
	})
}

// streaming registers a function that streams. Its error is from before the stream has begun.
func streaming[I any](events string, f func(context.Context, *I) (func() error, error)) func(huma.API, huma.Operation) {
	return func(api huma.API, op huma.Operation) {
		op.Responses = map[string]*huma.Response{"200": {Description: events, Content: map[string]*huma.MediaType{
			"text/event-stream": {Schema: &huma.Schema{Type: "string"}},
		}}}
		huma.Register(api, op, func(ctx context.Context, in *I) (*huma.StreamResponse, error) {
			run, err := f(ctx, in)
			if err != nil {
				return nil, answerable(ctx, op.OperationID, err)
			}
			return &huma.StreamResponse{Body: func(c huma.Context) {
				if err := run(); err != nil {
					p := answerable(ctx, op.OperationID, err)
					for name, values := range p.GetHeaders() {
						c.SetHeader(name, values[0])
					}
					c.SetHeader("Content-Type", p.ContentType(""))
					c.SetStatus(p.Status)
					json.NewEncoder(c.BodyWriter()).Encode(p)
				}
			}}, nil
		})
	}
}

func (a *API) batchEvents(ctx context.Context, in *batchEventsInput) (func() error, error) {
	b, err := a.Batch(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return func() error {
		if b.Ended() && in.Last == lastEvent {
			in.w.WriteHeader(http.StatusNoContent) // browsers do not reconnect then
			return nil
		}
		return a.follow(in.exchange, in.ID, func(s *web.Stream, n state) error {
			text, ok := n.batches[in.ID]
			if !ok {
				if err := s.Send("end", "gone", lastEvent, []byte("{}")); err != nil {
					return err
				}
				return errEnded
			}
			if err := s.Send("batch", "batch", "", text); err != nil || !n.ended[in.ID] {
				return err
			}
			if err := s.Send("end", "end", lastEvent, text); err != nil {
				return err
			}
			return errEnded
		})
	}, nil
}

type eventsInput struct{ exchange }

func (a *API) allEvents(_ context.Context, in *eventsInput) (func() error, error) {
	return func() error {
		return a.follow(in.exchange, "", func(s *web.Stream, n state) error {
			if err := s.Send("status", "status", "", n.status); err != nil {
				return err
			}
			for _, id := range slices.Backward(n.newest) {
				if err := s.Send("batch "+id, "batch", "", n.batches[id]); err != nil {
					return err
				}
			}
			s.Forget(func(key string) bool {
				id, ok := strings.CutPrefix(key, "batch ")
				return ok && !slices.Contains(n.newest, id)
			})
			return nil
		})
	}, nil
}
