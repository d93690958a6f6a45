package pages

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"time"

	"tiwsnap/ledger"
	"tiwsnap/results"
	"tiwsnap/web"
	"tiwsnap/web/api"
)

// Limits of the pages of failures and of held snapshots.
const (
	failuresBatches = 500  // newest batches
	failuresCounted = 2000 // newest snapshots that are counted by code
	failuresShown   = 100  // snapshots shown
)

var failuresPage = page("failures.html")

// failuresData is the data of these pages.
type failuresData struct {
	Held      bool
	Codes     []*results.Failure
	Partial   bool
	Code      string // of the snapshots that are listed; empty: all
	Snapshots []results.Result
	Cut       bool // there are more snapshots
}

// Path returns the path of the page.
func (d failuresData) Path() string {
	if d.Held {
		return "/held"
	}
	return "/failures"
}

// LabelOf returns the name of a room for people.
func (failuresData) LabelOf(s results.Result) string { return labelOf(s) }

func (p *Pages) failuresRoutes() []web.Route {
	read := func(held bool) func(*http.Request) (string, any, error) {
		return func(r *http.Request) (string, any, error) {
			d, err := failures(r.Context(), p.api, held, r.URL.Query().Get("code"))
			title := "nav.failures"
			if held {
				title = "nav.held"
			}
			return langOf(r).say(title), d, err
		}
	}
	// chosen applies an action to each chosen snapshot, or to all with the code.
	chosen := func(to, said string, each func(context.Context, string) error,
		all func(context.Context, string) (int, bool, error)) func(*http.Request) (string, text, error) {
		return func(r *http.Request) (string, text, error) {
			if r.PostFormValue("all") != "" {
				n, complete, err := all(r.Context(), r.PostFormValue("code"))
				if !complete {
					return to, say("said.retried.some", n), err
				}
				return to, say("said.retried", n), err
			}
			n := 0
			ids := r.PostForm["id"]
			for _, id := range ids[:min(len(ids), failuresShown)] {
				err := each(r.Context(), id)
				var gone *web.Problem
				if errors.As(err, &gone) && gone.Status == http.StatusConflict || errors.Is(err, ledger.ErrNotFound) {
					continue // another user has done it
				}
				if err != nil {
					return to, text{}, err
				}
				n++
			}
			return to, text{said, []any{n}}, nil
		}
	}
	retry := func(ctx context.Context, id string) error {
		_, err := p.api.RetrySnapshot(ctx, &api.SnapshotInput{ID: id})
		return err
	}
	cancel := func(ctx context.Context, id string) error {
		_, err := p.api.CancelSnapshot(ctx, &api.SnapshotInput{ID: id})
		return err
	}
	every := func(held bool) func(context.Context, string) (int, bool, error) {
		return func(ctx context.Context, code string) (int, bool, error) {
			out, err := p.api.RetryFailures(ctx, &api.RetryFailuresInput{Code: code, Held: held})
			if err != nil {
				return 0, true, err
			}
			return out.Body.Retried, out.Body.Complete, nil
		}
	}
	routes := p.screen(failuresPage,
		screen{path: "/failures", role: web.RoleView, nav: "failures", every: 5 * time.Second, read: read(false)})
	routes = append(routes, p.screen(failuresPage,
		screen{path: "/held", role: web.RoleView, nav: "held", every: 5 * time.Second, read: read(true)})...)
	return append(routes,
		p.action("/failures/retry", web.RoleOperate, chosen("/failures", "said.retried", retry, every(false))),
		p.action("/held/retry", web.RoleOperate, chosen("/held", "said.retried", retry, every(true))),
		p.action("/held/cancel", web.RoleOperate, chosen("/held", "said.canceled.some", cancel, every(true))),
	)
}

// failures reads the failures, or the held snapshots, of the newest batches and of single rooms.
func failures(ctx context.Context, a *api.API, held bool, code string) (d failuresData, err error) {
	d.Held, d.Code = held, code
	all, err := a.Ledger.Batches(ctx, failuresBatches)
	if err != nil {
		return d, err
	}
	ids := []string{""}
	for _, b := range all {
		if !held && b.Failed+b.LostImages > 0 || held && b.Unknown > 0 {
			ids = append(ids, b.ID)
		}
	}
	n := 0
	d.Codes, err = results.Group(func(yield func(results.Result, error) bool) {
		for s, err := range a.Results.Failed(ctx, ids, held) {
			if n++; n > failuresCounted {
				d.Partial = true
				return
			}
			if err == nil && s.HasCode(code) {
				if d.Cut = len(d.Snapshots) == failuresShown; !d.Cut {
					d.Snapshots = append(d.Snapshots, s)
				}
			}
			if !yield(s, err) {
				return
			}
		}
	})
	return d, err
}

// byCode groups the newest failures of batches, or held snapshots, by code. It reads at most so many; partial reports
// that there are more.
func byCode(ctx context.Context, a *api.API, batches []string, held bool, most int) (all []*results.Failure,
	partial bool, err error) {
	n := 0
	newest := iter.Seq2[results.Result, error](func(yield func(results.Result, error) bool) {
		for s, err := range a.Results.Failed(ctx, batches, held) {
			if n++; n > most || !yield(s, err) {
				return
			}
		}
	})
	all, err = results.Group(newest)
	return all, n > most, err
}
