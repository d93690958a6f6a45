package web

import (
	"bytes"
	"fmt"
	"net/http"
	"sync"
	"time"
)

const (
	// pingEvery is how often a stream shows that it lives where nothing changes.
	pingEvery = 15 * time.Second
	// streamLife is how long a stream lasts. Clients open the next one by
	// themselves, if they still may.
	streamLife = 5 * time.Minute
	// maxStreams is how many there are in a process, and maxOwnStreams how many
	// of one principal.
	maxStreams    = 300
	maxOwnStreams = 50
)

// streams are those who follow something by server-sent events
// (https://html.spec.whatwg.org/#server-sent-events), pages and programs.
type streams struct {
	slots
	closing sync.Once
	closed  chan struct{}
}

func newStreams() *streams {
	return &streams{
		slots:  slots{what: "streams are open", all: maxStreams, own: maxOwnStreams, retry: 10 * time.Second},
		closed: make(chan struct{}),
	}
}

// close ends all streams, so that a server can shut down.
func (s *streams) close() { s.closing.Do(func() { close(s.closed) }) }

// follow opens a stream, and has tell send what is new, at once and every so
// often, until the client has gone or tell returns an error. The error of follow
// is from before the stream has begun.
func (s *streams) follow(w http.ResponseWriter, r *http.Request, every time.Duration, tell func(*stream) error) error {
	free, err := s.take(r.Context())
	if err != nil {
		return err
	}
	defer free()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // or proxies wait for more
	if r.Method == http.MethodHead {
		return nil
	}
	client := &stream{w: newDeadlineWriter(w), sent: map[string][]byte{}}
	err = client.write("retry: 2000\n\n")
	tick := time.NewTicker(every)
	defer tick.Stop()
	end := time.NewTimer(streamLife)
	defer end.Stop()
	for err == nil {
		if err = tell(client); err == nil && time.Since(client.at) >= pingEvery {
			err = client.write(":\n\n")
		}
		if err != nil {
			break
		}
		select {
		case <-tick.C:
		case <-end.C:
			return nil
		case <-r.Context().Done():
			return nil
		case <-s.closed:
			return nil
		}
	}
	return nil // nobody is there to be told, or all is said
}

// stream is one client that follows.
type stream struct {
	w    *deadlineWriter
	sent map[string][]byte // the last of each kind of event
	at   time.Time         // of the last write
}

// send writes an event unless it is the same as the last under that key. Each is
// the whole state, so that a client may miss any number of them. An event without
// a name is a message. The id may be empty.
func (s *stream) send(key, event, id string, data []byte) error {
	if last, ok := s.sent[key]; ok && bytes.Equal(last, data) {
		return nil
	}
	s.sent[key] = data
	var b bytes.Buffer
	if event != "" {
		fmt.Fprintf(&b, "event: %s\n", event)
	}
	if id != "" {
		fmt.Fprintf(&b, "id: %s\n", id)
	}
	lines := bytes.ReplaceAll(bytes.ReplaceAll(data, []byte("\r"), nil), []byte("\n"), []byte("\ndata: "))
	fmt.Fprintf(&b, "data: %s\n\n", lines)
	return s.write(b.String())
}

func (s *stream) write(text string) error {
	s.at = time.Now()
	return s.w.event([]byte(text))
}
