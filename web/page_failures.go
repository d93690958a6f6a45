package web

import (
	"context"
	"errors"
	"net/http"
	"time"

	"tiwsnap/ledger"
	"tiwsnap/results"
)

// What the pages of failures and of what is held look at and show, at most.
const (
	failuresBatches = 500  // newest batches
	failuresCounted = 2000 // newest snapshots that are counted by code
	failuresShown   = 100  // snapshots shown
)

var failuresPage = page("failures.html")

// failuresData is what these pages show.
type failuresData struct {
	Held      bool
	Codes     []*results.Failure
	Partial   bool
	Code      string // of the snapshots that are listed; empty: all
	Snapshots []results.Result
	Cut       bool // there are more snapshots
}

// Path is that of the page.
func (d failuresData) Path() string {
	if d.Held {
		return "/held"
	}
	return "/failures"
}

// LabelOf is what a person calls the room of a snapshot by.
func (failuresData) LabelOf(s results.Result) string { return labelOf(s) }

func (p *Pages) failuresRoutes() []Route {
	read := func(held bool) func(*http.Request) (string, any, error) {
		return func(r *http.Request) (string, any, error) {
			d, err := p.api.failures(r.Context(), held, r.URL.Query().Get("code"))
			title := "nav.failures"
			if held {
				title = "nav.held"
			}
			return langOf(r).say(title), d, err
		}
	}
	// chosen does something with each snapshot that was chosen, or else with all
	// of the code, and says so.
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
				var gone *Problem
				if errors.As(err, &gone) && gone.Status == http.StatusConflict || errors.Is(err, ledger.ErrNotFound) {
					continue // somebody else was faster
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
		_, err := p.api.retrySnapshot(ctx, &snapshotInput{id})
		return err
	}
	cancel := func(ctx context.Context, id string) error {
		_, err := p.api.cancelSnapshot(ctx, &snapshotInput{id})
		return err
	}
	every := func(held bool) func(context.Context, string) (int, bool, error) {
		return func(ctx context.Context, code string) (int, bool, error) {
			out, err := p.api.retryFailures(ctx, &retryFailuresInput{Code: code, Held: held})
			if err != nil {
				return 0, true, err
			}
			return out.Body.Retried, out.Body.Complete, nil
		}
	}
	routes := p.screen(failuresPage,
		screen{path: "/failures", role: RoleView, nav: "failures", every: 5 * time.Second, read: read(false)})
	routes = append(routes, p.screen(failuresPage,
		screen{path: "/held", role: RoleView, nav: "held", every: 5 * time.Second, read: read(true)})...)
	return append(routes,
		p.action("/failures/retry", RoleOperate, chosen("/failures", "said.retried", retry, every(false))),
		p.action("/held/retry", RoleOperate, chosen("/held", "said.retried", retry, every(true))),
		p.action("/held/cancel", RoleOperate, chosen("/held", "said.canceled.some", cancel, every(true))),
	)
}

// failures reads what has failed, or is held, of the newest batches and of the
// single rooms.
func (a *API) failures(ctx context.Context, held bool, code string) (d failuresData, err error) {
	d.Held, d.Code = held, code
	all, err := a.ledger.Batches(ctx, failuresBatches)
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
		for s, err := range a.results.Failed(ctx, ids, held) {
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

type retryFailuresInput struct {
	Code string `query:"code" maxLength:"100" doc:"Only this error code; InternalError includes InternalError.Timeout"`
	Held bool   `query:"held" doc:"Retry those held for review instead; this may create a second task of each"`
}

type retryFailuresOutput struct {
	Body struct {
		Retried  int  `json:"retried" doc:"Snapshots that were queued again"`
		Complete bool `json:"complete" doc:"false: there are more, and the same request again does the rest"`
	}
}

// retryFailures retries what has failed everywhere.
func (a *API) retryFailures(ctx context.Context, in *retryFailuresInput) (*retryFailuresOutput, error) {
	ids, err := a.results.Everywhere(ctx)
	if err != nil {
		return nil, err
	}
	some, cancel := context.WithTimeout(ctx, retryTime)
	defer cancel()
	out := &retryFailuresOutput{}
	out.Body.Complete = true
	for _, id := range ids {
		n, err := a.queue.RetryBatch(some, id, in.Held, in.Code)
		out.Body.Retried += n
		if err != nil && (some.Err() == nil || ctx.Err() != nil) {
			return nil, err
		}
		if err != nil {
			out.Body.Complete = false
			break
		}
	}
	if out.Body.Retried > 0 {
		a.did(ctx, "retry-failures", in.Code, count(out.Body.Retried))
	}
	return out, nil
}
