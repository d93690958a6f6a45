package pages

import (
	"errors"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"tiwsnap/ledger"
	"tiwsnap/results"
	"tiwsnap/web"
	"tiwsnap/web/api"
)

var findPage = page("find.html")

// findData is the search text and its results.
type findData struct {
	Text      string
	Snapshots []results.Result
	More      bool
	Searched  int    // of the rooms that wait
	Waiting   int    // rooms
	Next      string // cursor, if there are more of them
}

// LabelOf returns the name of a room for people, and the label that matches the text.
func (d findData) LabelOf(s results.Result) string {
	name := labelOf(s)
	for _, key := range slices.Sorted(maps.Keys(s.Room.Label)) {
		value := shown(s.Room.Label[key])
		if contains(value, d.Text) && !contains(name, d.Text) {
			return name + " · " + value
		}
	}
	return name
}

func contains(s, part string) bool {
	return strings.Contains(strings.ToLower(s), strings.ToLower(part))
}

// findShown is how many snapshots the page shows.
const findShown = 100

// findRoutes returns the routes of the search box. The id of a batch or a snapshot, a TaskID and a RequestId redirect
// to the page.
func (p *Pages) findRoutes() []web.Route {
	routes := p.screen(findPage, screen{
		path: "/find", role: web.RoleRead,
		read: func(r *http.Request) (string, any, error) {
			d := findData{Text: strings.TrimSpace(r.URL.Query().Get("q"))}
			if d.Text != "" {
				out, err := p.api.Find(r.Context(), &api.FindInput{
					Word: d.Text, Limit: findShown, After: r.URL.Query().Get("cursor"),
				})
				if err != nil {
					return "", nil, err
				}
				d.Snapshots, d.More = out.Body.Snapshots, out.Body.More
				d.Searched, d.Waiting, d.Next = out.Body.Searched, out.Body.Waiting, out.Body.Next
			}
			return langOf(r).say("nav.find"), d, nil
		},
	})
	show := routes[0].Handler
	routes[0].Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := strings.TrimSpace(r.URL.Query().Get("q"))
		_, err := p.api.Batch(r.Context(), id)
		if err == nil {
			http.Redirect(w, r, newView(r, "", nil).Link("/batches/%s", id), http.StatusSeeOther)
			return
		}
		if errors.Is(err, ledger.ErrNotFound) && id != "" {
			if _, err = p.api.Snapshot(r.Context(), id); err == nil {
				http.Redirect(w, r, newView(r, "", nil).Link("/snapshots/%s", id), http.StatusSeeOther)
				return
			}
		}
		if err == nil || errors.Is(err, ledger.ErrNotFound) {
			if s, ok := p.single(r, id); ok {
				http.Redirect(w, r, newView(r, "", nil).Link("/snapshots/%s", s.ID), http.StatusSeeOther)
				return
			}
		}
		show.ServeHTTP(w, r)
	})
	return routes
}

// single returns the snapshot of a TaskID or RequestId, if there is only one.
func (p *Pages) single(r *http.Request, id string) (s results.Result, ok bool) {
	if !uuid.MatchString(id) {
		return s, false
	}
	out, err := p.api.Find(r.Context(), &api.FindInput{Word: id, Limit: 2})
	if err != nil || len(out.Body.Snapshots) != 1 || out.Body.Next != "" {
		return s, false
	}
	return out.Body.Snapshots[0], true
}

// uuid matches a TaskID and a RequestId.
var uuid = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
