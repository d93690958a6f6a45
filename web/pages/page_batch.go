package pages

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"tiwsnap/ledger"
	"tiwsnap/results"
	"tiwsnap/tasks"
	"tiwsnap/web"
	"tiwsnap/web/api"
)

// Limits of the page of a batch.
const (
	batchRows     = 50   // snapshots
	batchFailures = 2000 // newest failures that are counted by code
	batchLabels   = 3    // columns of labels; more come in one
)

var batchPage = page("batch.html")

// batchData is the data of the page of a batch.
type batchData struct {
	openBatch
	Failures  []*results.Failure
	Partial   bool // there are more failures than were counted
	Held      []*results.Failure
	Waits     int    // those of Held, as far as they were counted
	Only      string // state of the snapshots that are listed; empty: all
	Code      string // their error code; empty: any
	From      int    // row from which on they are listed
	Snapshots []results.Result
	Next      int
	Columns   []string // labels, each in one; none: all are in one
	Stopped   []trouble
	Chart     batchChart
}

// AllLabels returns the labels of a snapshot, on one line.
func (batchData) AllLabels(s results.Result) string {
	var all []string
	for _, key := range slices.Sorted(maps.Keys(s.Room.Label)) {
		if value := shown(s.Room.Label[key]); value != "" {
			all = append(all, value)
		}
	}
	return strings.Join(all, " · ")
}

// Row returns the row of a snapshot in the class list.
func (d batchData) Row(s results.Result) int {
	_, row, _ := tasks.SplitRowID(s.ID)
	return row
}

func (p *Pages) batchRoutes() []web.Route {
	routes := p.screen(batchPage, screen{
		path: "/batches/{id}", role: web.RoleRead, nav: "batches", every: 2 * time.Second, read: p.readBatch,
	})
	// done returns to the batch.
	done := func(id string, said text, err error) (string, text, error) { return "/batches/" + id, said, err }
	return append(routes,
		p.action("/batches/{id}/cancel", web.RoleProduce, func(r *http.Request) (string, text, error) {
			id := r.PathValue("id")
			out, err := p.api.CancelBatch(r.Context(), &api.BatchInput{ID: id})
			if err != nil {
				return done(id, text{}, err)
			}
			return done(id, say("said.canceled", out.Body.Canceled), nil)
		}),
		p.action("/batches/{id}/pause", web.RoleOperate, func(r *http.Request) (string, text, error) {
			id := r.PathValue("id")
			_, err := p.api.PauseBatch(r.Context(), &api.BatchInput{ID: id})
			return done(id, say("said.paused"), err)
		}),
		p.action("/batches/{id}/resume", web.RoleOperate, func(r *http.Request) (string, text, error) {
			id := r.PathValue("id")
			_, err := p.api.ResumeBatch(r.Context(), &api.BatchInput{ID: id})
			return done(id, say("said.resumed"), err)
		}),
		p.action("/batches/{id}/retry", web.RoleOperate, func(r *http.Request) (string, text, error) {
			id := r.PathValue("id")
			in := &api.RetryBatchInput{ID: id, Held: r.PostFormValue("held") != "", Code: r.PostFormValue("code")}
			out, err := p.api.RetryBatch(r.Context(), in)
			if err != nil {
				return done(id, text{}, err)
			}
			if !out.Body.Complete {
				return done(id, say("said.retried.some", out.Body.Retried), nil)
			}
			return done(id, say("said.retried", out.Body.Retried), nil)
		}),
		p.action("/batches/{id}/again", web.RoleOperate, func(r *http.Request) (string, text, error) {
			id := r.PathValue("id")
			out, err := p.api.AgainBatch(r.Context(), &api.AgainBatchInput{ID: id, Name: r.PostFormValue("name")})
			if err != nil {
				return done(id, text{}, err)
			}
			return done(out.Body.ID, say("said.again", out.Body.Rooms, id), nil)
		}),
	)
}

func (p *Pages) readBatch(r *http.Request) (string, any, error) {
	ctx, q := r.Context(), r.URL.Query()
	b, err := p.api.Batch(ctx, r.PathValue("id"))
	if err != nil {
		return "", nil, err
	}
	d := batchData{openBatch: openBatchOf(p.api, b), Only: q.Get("state"), Code: q.Get("code"), Columns: b.Labels}
	if len(b.Labels) > batchLabels {
		d.Columns = nil
	}
	if d.Failures, d.Partial, err = failuresOf(r, p.api, b.ID, b.Failed+b.LostImages, false); err != nil {
		return "", nil, err
	}
	if d.Held, _, err = failuresOf(r, p.api, b.ID, b.Unknown, true); err != nil {
		return "", nil, err
	}
	if !b.Ended() {
		var still bool
		if d.Stopped, still, err = troubles(ctx, p.api); err != nil {
			return "", nil, err
		}
		for _, f := range d.Held {
			d.Waits += f.Count
		}
		if still || d.Waits == b.Total-b.Done() { // the time left is unknown
			d.Rate, d.Left = 0, 0
		}
	}
	chart, err := p.api.Ledger.Chart(ctx, b)
	if err != nil {
		return "", nil, err
	}
	d.Chart = batchChartOf(chart, b, time.Now())
	if d.Only != "" && !slices.Contains(allStates, ledger.State(d.Only)) {
		return "", nil, web.Invalid("state", "is not known")
	}
	from, _ := strconv.Atoi(q.Get("from"))
	d.From = max(from, 1)
	in := &api.ListSnapshotsInput{ID: b.ID, State: d.Only, Code: d.Code, Limit: batchRows, Cursor: d.From}
	page, err := p.api.SnapshotPage(ctx, b, in)
	if err != nil {
		return "", nil, err
	}
	d.Snapshots, d.Next = page.Snapshots, page.Next
	return b.ID, d, nil
}

// openBatch is a batch with its rate.
type openBatch struct {
	ledger.Batch
	Rate float64 // snapshots that ended a second
	Left time.Duration
}

// openBatchOf adds the rate to a batch.
func openBatchOf(a *api.API, b ledger.Batch) openBatch {
	p := a.WithRate(b)
	return openBatch{b, p.Rate, time.Duration(p.Left * float64(time.Second))}
}

// failuresOf groups the failures of a batch, or its held snapshots, by code. If there are none, it reads nothing.
func failuresOf(r *http.Request, a *api.API, batch string, n int, held bool) ([]*results.Failure, bool, error) {
	if n == 0 {
		return nil, false, nil
	}
	return byCode(r.Context(), a, []string{batch}, held, batchFailures)
}

// labelOf returns the name of a room for people: its first two labels, or its id.
func labelOf(s results.Result) string {
	var parts []string
	for _, key := range slices.Sorted(maps.Keys(s.Room.Label)) {
		if value := strings.TrimSpace(s.Room.Label[key]); value != "" && len(parts) < 2 {
			parts = append(parts, shown(value))
		}
	}
	if len(parts) == 0 {
		return strconv.FormatUint(s.Room.RoomId, 10)
	}
	return strings.Join(parts, " · ")
}
