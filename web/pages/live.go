package pages

import (
	"bytes"
	"net/http"
	"time"

	"tiwsnap/web"
	"tiwsnap/web/api"
)

// liveEvery is the time between two looks for a page that people watch.
const liveEvery = time.Second

// live is a stream that keeps a page up to date: the HTML of its template "live",
// each time that it has changed. pages/page.js puts it in place.
func (p *Pages) live(t pageTemplate, every time.Duration, look func(*http.Request) (view, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := look(r)
		first := true
		if err == nil {
			err = p.api.Streams.Follow(w, r, every, func(s *web.Stream) error {
				var lost error
				if !first {
					v, lost = look(r)
				}
				first = false
				if lost != nil { // it is tried again, and the page says that it is old
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
