package pages

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"tiwsnap/ledger"
	"tiwsnap/results"
	"tiwsnap/web"
	"tiwsnap/web/api"
)

var snapshotPage = page("snapshot.html")

// snapshotData is the data of the page of a snapshot.
type snapshotData struct {
	results.Result
	By       string // who has enqueued it
	Name     string // of the room, for people
	Timeline []moment
	Next     text // what happens next
	NextAt   time.Time
	Extra    []string // other tasks of the snapshot
	Callback string   // its body
	JSON     string
}

// moment is an event of a snapshot.
type moment struct {
	At     time.Time
	What   text
	Kind   string // good, bad, or empty
	Detail []text
	Code   string
}

func (p *Pages) snapshotRoutes() []web.Route {
	routes := p.screen(snapshotPage, screen{
		path: "/snapshots/{id}", role: web.RoleRead, nav: "batches", every: 2 * time.Second, read: p.readSnapshot,
	})
	return append(routes,
		p.action("/snapshots/{id}/cancel", web.RoleProduce, func(r *http.Request) (string, text, error) {
			id := r.PathValue("id")
			out, err := p.api.CancelSnapshot(r.Context(), &api.SnapshotInput{ID: id})
			said := say("said.snapshot.canceled")
			if err == nil && out.Status == http.StatusAccepted {
				said = say("said.snapshot.canceling")
			}
			return "/snapshots/" + id, said, err
		}),
		p.action("/snapshots/{id}/retry", web.RoleOperate, func(r *http.Request) (string, text, error) {
			id := r.PathValue("id")
			_, err := p.api.RetrySnapshot(r.Context(), &api.SnapshotInput{ID: id})
			return "/snapshots/" + id, say("said.snapshot.retried"), err
		}),
	)
}

func (p *Pages) readSnapshot(r *http.Request) (string, any, error) {
	ctx := r.Context()
	s, err := p.api.Snapshot(ctx, r.PathValue("id"))
	if err != nil {
		return "", nil, err
	}
	d := snapshotData{Result: results.Explain(s), Callback: s.Callback}
	d.Name = labelOf(d.Result)
	if d.By, err = p.api.Owner(ctx, s); err != nil {
		return "", nil, err
	}
	for attempt, task := range s.ExtraTasks {
		d.Extra = append(d.Extra, fmt.Sprintf("%s (%d)", task, attempt))
	}
	slices.Sort(d.Extra)
	stops, stopped, err := troubles(ctx, p.api)
	if err != nil {
		return "", nil, err
	}
	var b ledger.Batch
	if s.Batch != "" {
		if b, err = p.api.Ledger.Batch(ctx, s.Batch); err != nil {
			return "", nil, err
		}
	}
	d.Timeline = timeline(s, b)
	d.Next = whatNext(s, b, stopped)
	if stopped && len(stops) > 0 && !s.State.Ended() {
		d.NextAt = stops[0].NextTrial
	}
	text, err := json.MarshalIndent(d.Result, "", "  ")
	d.JSON = string(text)
	return d.Name, d, err
}

// timeline returns the events of a snapshot in its record.
func timeline(s ledger.Snapshot, b ledger.Batch) (all []moment) {
	add := func(at time.Time, what text, kind, code string, detail ...text) {
		if !at.IsZero() {
			detail = slices.DeleteFunc(detail, func(t text) bool { return t.Key == "" })
			all = append(all, moment{at, what, kind, detail, code})
		}
	}
	given := func(key, value string) text {
		if value == "" {
			return text{}
		}
		return say(key, value)
	}
	add(b.CreatedAt, say("moment.enqueued"), "", "")
	before := 0
	for _, a := range s.History {
		var outcome, permit, unsent text
		if n := a.Number - before - 1; n > 0 && len(s.History) < 50 { // of longer histories the middle is dropped
			unsent = say("moment.unsent", n)
		}
		before = a.Number
		if a.Outcome == ledger.Unknown || a.Outcome == ledger.Queued {
			outcome = say("moment." + string(a.Outcome))
		}
		if a.PermitWaitMS > 0 {
			permit = say("moment.permit", a.PermitWaitMS)
		}
		add(a.SentAt, say("moment.sent", a.Number), "", a.Code, unsent, outcome, permit,
			given("moment.request", a.RequestID), given("moment.task", a.TaskID))
	}
	if len(s.History) == 0 { // its record is of an older release
		add(s.SentAt, say("moment.sent", s.Attempts), "", "", given("moment.request", s.RequestID))
	}
	add(s.AcceptedAt, say("moment.accepted"), "good", "", given("moment.task", s.TaskID))
	var made text
	if n := len(s.Images); n > 0 {
		made = say("moment.images", n)
	}
	kind := map[ledger.State]string{ledger.Succeeded: "good", ledger.Failed: "bad"}[s.State]
	add(s.EndedAt, say("moment."+string(s.State)), kind, s.Code, made, given("%s", s.Message))
	slices.SortStableFunc(all, func(a, b moment) int { return a.At.Compare(b.At) })
	return all
}

// whatNext returns what happens to a snapshot next.
func whatNext(s ledger.Snapshot, b ledger.Batch, stopped bool) text {
	switch {
	case s.Held:
		return say("next.held")
	case s.State.Ended():
		return text{}
	case s.State == ledger.Queued && b.Paused:
		return say("next.paused")
	case s.State == ledger.Queued && stopped:
		return say("next.stopped")
	}
	return say("next." + string(s.State))
}
