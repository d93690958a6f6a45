package pages

import (
	"net/http"
	"strings"
	"time"

	"tiwsnap/web"
	"tiwsnap/web/api"
)

// pageBatches is how many batches a page lists.
const pageBatches = 50

var batchesPage = page("batches.html")

// batchesData is the data of the list of batches.
type batchesData struct {
	State, Text, Day string // the filter
	Filtered         bool
	Batches          []api.Batch
	Next             string
}

func (p *Pages) batchesRoutes() []web.Route {
	return p.screen(batchesPage, screen{
		path: "/batches", role: web.RoleRead, nav: "batches", every: 2 * time.Second,
		read: func(r *http.Request) (string, any, error) {
			q := r.URL.Query()
			d := batchesData{State: q.Get("state"), Text: strings.TrimSpace(q.Get("q")), Day: q.Get("day")}
			d.Filtered = d.State != "" || d.Text != "" || d.Day != ""
			in := &api.ListBatchesInput{Limit: pageBatches, Cursor: q.Get("cursor"), State: d.State, Text: d.Text}
			if d.Day != "" {
				zone, _ := zoneOf(r)
				day, err := time.ParseInLocation("2006-01-02", d.Day, zone)
				if err != nil {
					return "", nil, web.Invalid("day", "must be a date such as 2026-11-28")
				}
				in.Since, in.Until = day, day.AddDate(0, 0, 1)
			}
			out, err := p.api.ListBatches(r.Context(), in)
			if err != nil {
				return "", nil, err
			}
			d.Batches, d.Next = out.Body.Batches, out.Body.Next
			return langOf(r).say("nav.batches"), d, nil
		},
	})
}
