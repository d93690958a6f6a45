package web

import (
	"bytes"
	"fmt"
	"maps"
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
	// maxStreams is how many there are in a process, and MaxOwnStreams how many
	// of one principal.
	maxStreams    = 300
	MaxOwnStreams = 50
)

// streams are those who follow something by server-sent events
// (https://html.spec.whatwg.org/#server-sent-events), pages and programs.
type Streams struct {
	Slots
	closing sync.Once
	closed  chan struct{}
}

func NewStreams() *Streams {
	return &Streams{
		Slots:  Slots{What: "streams are open", All: maxStreams, Own: MaxOwnStreams, Retry: 10 * time.Second},
		closed: make(chan struct{}),
	}
}

// close ends all streams, so that a server can shut down.
func (s *Streams) Close() { s.closing.Do(func() { close(s.closed) }) }

// follow opens a stream, and has tell send what is new, at once and every so
// often, until the client has gone or tell returns an error. The error of follow
// is from before the stream has begun.
func (s *Streams) Follow(w http.ResponseWriter, r *http.Request, every time.Duration, tell func(*Stream) error) error {
	free, err := s.Take(r.Context())
	if err != nil {
		return err
	}
	defer free()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // or proxies wait for more
	if r.Method == http.MethodHead {
		return nil
	}
	client := &Stream{w: NewDeadlineWriter(w), sent: map[string][]byte{}}
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
type Stream struct {
	w    *DeadlineWriter
	sent map[string][]byte // the last of each kind of event
	at   time.Time         // of the last write
}

// forget has the next event be sent under each key for which which is true, also if it is the same.
func (s *Stream) Forget(which func(key string) bool) {
	maps.DeleteFunc(s.sent, func(key string, _ []byte) bool { return which(key) })
}

// send writes an event unless it is the same as the last under that key. Each is
// the whole state, so that a client may miss any number of them. An event without
// a name is a message. The id may be empty.
func (s *Stream) Send(key, event, id string, data []byte) error {
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

func (s *Stream) write(text string) error {
	s.at = time.Now()
	return s.w.event([]byte(text))
}
