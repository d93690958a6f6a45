package web_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"tiwsnap/internal/needs"
	"tiwsnap/web"
)

// event is one of a stream.
type event struct{ name, id, data string }

// follow opens a stream and returns what reads the next event of it; ok is false
// at its end.
func (s *service) follow(path string, header ...string) (next func() (e event, ok bool)) {
	s.Helper()
	resp, err := s.client.Do(s.request("GET", path, "", header...))
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		s.Fatalf("%d %v", resp.StatusCode, resp.Header)
	}
	lines := bufio.NewScanner(resp.Body)
	return func() (e event, ok bool) {
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch {
			case name == "event":
				e.name = value
			case name == "id":
				e.id = value
			case name == "data":
				e.data = value
			case name == "" && e.name != "":
				return e, true
			}
		}
		return event{}, false
	}
}

func TestFollowABatchToItsEnd(t *testing.T) {
	needs.Time(t)
	s := newService(t)
	s.add("b", 2)
	next := s.follow("/v1/batches/b/events")
	batch := func() (event, web.Batch) {
		t.Helper()
		e, ok := next()
		var b web.Batch
		if err := json.Unmarshal([]byte(e.data), &b); !ok || err != nil {
			t.Fatalf("%+v, %v, %v", e, ok, err)
		}
		return e, b
	}
	if e, b := batch(); e.name != "batch" || b.Queued != 2 {
		t.Errorf("the first: %+v", e)
	}
	s.outcome("b.1", broken)
	e, b := batch()
	for b.Failed != 1 {
		e, b = batch()
	}
	if e.name != "batch" {
		t.Errorf("then: %+v", e)
	}
	s.outcome("b.2", broken)
	for e.name != "end" {
		e, b = batch()
	}
	if e.id != "end" || b.Failed != 2 || b.State != "ended" {
		t.Errorf("the last: %+v", e)
	}
	if e, ok := next(); ok {
		t.Errorf("after it: %+v", e)
	}
	if r := s.send("GET", "/v1/batches/b/events", "", "Last-Event-ID", "end"); r.status != http.StatusNoContent {
		t.Errorf("a browser that comes back: %d", r.status)
	}
	next = s.follow("/v1/batches/b/events")
	for _, want := range []string{"batch", "end"} {
		if e, ok := next(); !ok || e.name != want {
			t.Errorf("%+v, want %s", e, want)
		}
	}
	s.send("GET", "/v1/batches/none/events", "").problem(404, "not-found")
}

func TestFollowEverything(t *testing.T) {
	needs.Time(t)
	s := newService(t)
	s.add("a", 1)
	next := s.follow("/v1/events")
	seen := map[string]string{}
	wait := func(done func() bool) {
		t.Helper()
		for !done() {
			e, ok := next()
			if !ok {
				t.Fatal("the stream ended")
			}
			var b web.Batch
			if err := json.Unmarshal([]byte(e.data), &b); err != nil {
				t.Fatal(err)
			}
			seen[strings.TrimSpace(e.name+" "+b.ID)] = e.data
		}
	}
	wait(func() bool { return seen["status"] != "" && seen["batch a"] != "" })
	s.add("b", 3)
	wait(func() bool { return seen["batch b"] != "" && strings.Contains(seen["status"], `"waiting":4`) })
	stopped(t, s.rdb, "ResourceUnavailable.ServiceExpired")
	wait(func() bool { return strings.Contains(seen["status"], "ServiceExpired") })
}

func TestStreamsAreBounded(t *testing.T) {
	s := newService(t)
	s.add("b", 1)
	for range web.MaxOwnStreams {
		if e, ok := s.follow("/v1/batches/b/events")(); !ok {
			t.Fatal(e)
		}
	}
	s.send("GET", "/v1/batches/b/events", "").problem(503, "busy")
	resp, err := s.client.Do(s.request("GET", "/v1/batches/b/events", "", "Authorization",
		"Bearer "+s.tokens[web.RoleView]))
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("somebody else: %v, %v", resp, err)
	}
	go io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
}
