package web

import (
	"bytes"
	"fmt"
	"net/http"
	"time"
)

const (
	liveEvery = time.Second
	// liveLife is how long one stream lasts. The browser opens the next one by
	// itself, if it still may.
	liveLife = 5 * time.Minute
	// maxLive is how many streams there are at a time, and maxOwnLive how many
	// of one user.
	maxLive    = 100
	maxOwnLive = 25
)

// live is a stream of server-sent events (https://html.spec.whatwg.org/#server-sent-events)
// that keeps a page up to date: the HTML of its template "live", each time that
// it has changed. pages/page.js puts it in place.
func (p *Pages) live(t pageTemplate, every time.Duration, look func(*http.Request) (view, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		free, err := p.streams.take(r.Context())
		if err != nil {
			problemOf(err).write(w, r)
			return
		}
		defer free()
		v, err := look(r)
		if err != nil {
			answerable(p.logged(r.Context()), r.URL.Path, err).write(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("X-Accel-Buffering", "no") // for proxies that would wait for more
		stream := newPaced(w)
		tick := time.NewTicker(every)
		defer tick.Stop()
		end := time.NewTimer(liveLife)
		defer end.Stop()
		var last []byte
		for {
			event := []byte(":\n\n") // a comment, which finds out whether anybody is there
			if err != nil {          // it is tried again, and the page says that it is old
				event, last = []byte("event: lost\ndata:\n\n"), nil
			} else {
				var html bytes.Buffer
				if err := t[v.Lang].ExecuteTemplate(&html, "live", v); err != nil {
					p.o.Log.Error("page not kept up to date", "path", r.URL.Path, "err", err)
					return
				}
				if !bytes.Equal(html.Bytes(), last) {
					last = html.Bytes()
					lines := bytes.ReplaceAll(bytes.ReplaceAll(last, []byte("\r"), nil), []byte("\n"), []byte("\ndata: "))
					event = fmt.Appendf(nil, "data: %s\n\n", lines)
				}
			}
			if stream.event(event) != nil {
				return
			}
			select {
			case <-tick.C:
			case <-end.C:
				return
			case <-r.Context().Done():
				return
			case <-p.closed:
				return
			}
			v, err = look(r)
		}
	})
}

// Close ends the streams to open pages, so that a server can shut down.
func (p *Pages) Close() { p.closing.Do(func() { close(p.closed) }) }
