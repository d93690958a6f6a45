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
	// pingEvery is how often a stream without changes sends a comment, which shows that it is alive.
	pingEvery = 15 * time.Second
	// streamLife bounds the life of a stream. Clients reconnect by themselves, and are authenticated again.
	streamLife = 5 * time.Minute
	// maxStreams bounds the streams of a process, and MaxOwnStreams those of one principal.
	maxStreams    = 300
	MaxOwnStreams = 50
)

// Streams are the open streams of server-sent events (https://html.spec.whatwg.org/#server-sent-events), for pages and
// for programs.
type Streams struct {
	Slots
	closing sync.Once
	closed  chan struct{}
}

// NewStreams returns streams with the limits of a process.
func NewStreams() *Streams {
	return &Streams{
		Slots:  Slots{What: "streams are open", All: maxStreams, Own: MaxOwnStreams, Retry: 10 * time.Second},
		closed: make(chan struct{}),
	}
}

// Close ends all streams, so that a server can shut down.
func (s *Streams) Close() { s.closing.Do(func() { close(s.closed) }) }

// Follow opens a stream. It calls update at once and then every so often, until the client is gone or update returns
// an error. Its own error is from before the stream has begun.
func (s *Streams) Follow(
	w http.ResponseWriter, r *http.Request, every time.Duration, update func(*Stream) error,
) error {
	free, err := s.Take(r.Context())
	if err != nil {
		return err
	}
	defer free()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // otherwise proxies buffer
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
		if err = update(client); err == nil && time.Since(client.at) >= pingEvery {
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
	return nil // the client is gone, or the stream has ended
}

// Stream is the stream of one client.
type Stream struct {
	w    *DeadlineWriter
	sent map[string][]byte // the last of each kind of event
	at   time.Time         // of the last write
}

// Forget drops the last events of the keys for which match is true: their next event is sent even if it is the same.
func (s *Stream) Forget(match func(key string) bool) {
	maps.DeleteFunc(s.sent, func(key string, _ []byte) bool { return match(key) })
}

// Send writes an event, unless it equals the last one of that key. Each event is a whole state, so a client may miss
// any number of them. Without a name it is a message. The id may be empty.
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
