package web

import (
	"io"
	"net/http"
	"time"
)

// How long the rest of a body is read after the answer: in total, and while nothing comes. Both are the defaults of
// nginx (lingering_time and lingering_timeout).
const (
	lingerTime = 30 * time.Second
	lingerIdle = 5 * time.Second
)

// smallRest is how much of a body net/http itself reads before it answers, in bytes (maxPostHandlerReadBytes).
const smallRest = 256 << 10

// linger delivers an early answer, such as the refusal of a list, to a client that is still sending its body. net/http
// closes the connection half a second after such an answer. The client then gets a reset and loses the answer, too
// (RFC 9112, section 9.6). So the answer is sent at once, and the rest of the body is read and discarded, for at most
// total.
func linger(total time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body == nil || r.Body == http.NoBody {
			next.ServeHTTP(w, r)
			return
		}
		lw := &lingerWriter{ResponseWriter: w, length: r.ContentLength}
		lw.body.Reader = r.Body
		r2 := *r // net/http reads the body of its own request
		r2.Body = &lw.body
		next.ServeHTTP(lw, &r2)
		if lw.early {
			lw.drain(total)
		}
	})
}

// lingerWriter notices an answer that comes before the end of the body.
type lingerWriter struct {
	http.ResponseWriter
	length int64 // of the body; -1 where it is not known
	body   countedBody
	began  bool
	early  bool // a large part of the body may come after the answer
}

func (w *lingerWriter) begin() {
	if w.began {
		return
	}
	w.began = true
	if !w.body.ended && (w.length < 0 || w.length-w.body.read >= smallRest) {
		w.early = true
		w.Header().Set("Connection", "close")
	}
}

func (w *lingerWriter) WriteHeader(status int) {
	if status >= http.StatusOK { // 1xx is not the answer yet
		w.begin()
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *lingerWriter) Write(p []byte) (int, error) {
	w.begin()
	return w.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (w *lingerWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// drain sends the answer and reads the rest of the body.
func (w *lingerWriter) drain(total time.Duration) {
	control := http.NewResponseController(w.ResponseWriter)
	if control.Flush() != nil {
		return
	}
	end := time.Now().Add(total)
	rest := make([]byte, 32<<10)
	for now := time.Now(); now.Before(end); now = time.Now() {
		if control.SetReadDeadline(now.Add(min(lingerIdle, end.Sub(now)))) != nil {
			return
		}
		if _, err := w.body.Read(rest); err != nil {
			return
		}
	}
}

// countedBody counts the bytes that are read of a body.
type countedBody struct {
	io.Reader
	read  int64
	ended bool // or failed: nothing more comes
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.read += int64(n)
	b.ended = b.ended || err != nil
	return n, err
}

// Close does nothing: the rest is drained, and net/http closes its own body.
func (b *countedBody) Close() error { return nil }
