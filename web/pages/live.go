package pages

import (
	"bytes"
	"net/http"
	"time"

	"tiwsnap/web"
	"tiwsnap/web/api"
)

// liveEvery is the time between two reads for the first page.
const liveEvery = time.Second

// live streams the HTML of the template "live" of a page, each time that it has changed. templates/page.js replaces
// the content of the page with it.
func (p *Pages) live(t pageTemplate, every time.Duration, load func(*http.Request) (view, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := load(r)
		first := true
		if err == nil {
			err = p.api.Streams.Follow(w, r, every, func(s *web.Stream) error {
				var lost error
				if !first {
					v, lost = load(r)
				}
				first = false
				if lost != nil { // the page shows that its data is stale
					return s.Send("live", "lost", "", nil)
				}
				var html bytes.Buffer
				if err := t()[v.Lang].ExecuteTemplate(&html, "live", v); err != nil {
					p.o.Log.Error("page not kept up to date", "path", r.URL.Path, "err", err)
					return err
				}
				return s.Send("live", "", "", html.Bytes())
			})
		}
		if err != nil {
			api.ProblemOf(p.o.Log, r.URL.Path, err).Write(w, r)
		}
	}
}
