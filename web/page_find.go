package web

import (
	"errors"
	"net/http"
	"strings"

	"tiwsnap/ledger"
	"tiwsnap/results"
)

var findPage = page("find.html")

// findData is what was looked for and found.
type findData struct {
	Text      string
	Snapshots []results.Result
	More      bool
	Searched  int    // of the rooms that wait
	Waiting   int    // rooms
	Next      string // cursor, if there are more of them
}

// LabelOf is what a person calls the room of a snapshot by.
func (findData) LabelOf(s results.Result) string { return labelOf(s) }

// findShown is how many snapshots the page shows.
const findShown = 100

// findRoutes are those of the box on every page. The id of a batch or of a
// snapshot leads right to its page.
func (p *Pages) findRoutes() []Route {
	routes := p.screen(findPage, screen{
		path: "/find", role: roleRead,
		read: func(r *http.Request) (string, any, error) {
			d := findData{Text: strings.TrimSpace(r.URL.Query().Get("q"))}
			if d.Text != "" {
				out, err := p.api.find(r.Context(), &findInput{d.Text, findShown, r.URL.Query().Get("cursor")})
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
		_, err := p.api.batch(r.Context(), id)
		if err == nil {
			http.Redirect(w, r, newView(r, "", nil).Link("/batches/%s", id), http.StatusSeeOther)
			return
		}
		if errors.Is(err, ledger.ErrNotFound) && id != "" {
			if _, err = p.api.snapshot(r.Context(), id); err == nil {
				http.Redirect(w, r, newView(r, "", nil).Link("/snapshots/%s", id), http.StatusSeeOther)
				return
			}
		}
		show.ServeHTTP(w, r)
	})
	return routes
}
