package api_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"tiwsnap/internal/needs"
	"tiwsnap/web"
	"tiwsnap/web/api"
	"tiwsnap/web/webtest"
)

func TestBatchEvents(t *testing.T) {
	needs.Time(t)
	s := webtest.NewService(t)
	s.Add("b", 2)
	next := s.Follow("/v1/batches/b/events")
	nextBatch := func() (webtest.Event, api.Batch) {
		t.Helper()
		e, ok := next()
		var b api.Batch
		if err := json.Unmarshal([]byte(e.Data), &b); !ok || err != nil {
			t.Fatalf("next event is %+v, %v, %v, want a batch", e, ok, err)
		}
		return e, b
	}
	if e, b := nextBatch(); e.Name != "batch" || b.Queued != 2 {
		t.Errorf("first event is %+v, want batch with 2 queued", e)
	}
	s.Outcome("b.1", webtest.Broken)
	e, b := nextBatch()
	for b.Failed != 1 {
		e, b = nextBatch()
	}
	if e.Name != "batch" {
		t.Errorf("event with a failure is %+v, want batch", e)
	}
	s.Outcome("b.2", webtest.Broken)
	for e.Name != "end" {
		e, b = nextBatch()
	}
	if e.Id != "end" || b.Failed != 2 || b.State != "ended" {
		t.Errorf("last event is %+v, want end with 2 failed", e)
	}
	if e, ok := next(); ok {
		t.Errorf("event after the end: %+v", e)
	}
	if r := s.Send("GET", "/v1/batches/b/events", "", "Last-Event-ID", "end"); r.Status != http.StatusNoContent {
		t.Errorf("reconnect after the end: status %d, want 204", r.Status)
	}
	next = s.Follow("/v1/batches/b/events")
	for _, want := range []string{"batch", "end"} {
		if e, ok := next(); !ok || e.Name != want {
			t.Errorf("event of an ended batch is %+v, want %s", e, want)
		}
	}
	s.Send("GET", "/v1/batches/none/events", "").Problem(404, "not-found")
}

func TestAllEvents(t *testing.T) {
	needs.Time(t)
	s := webtest.NewService(t)
	s.Add("a", 1)
	next := s.Follow("/v1/events")
	seen := map[string]string{}
	wait := func(done func() bool) {
		t.Helper()
		for !done() {
			e, ok := next()
			if !ok {
				t.Fatal("the stream ended")
			}
			var b api.Batch
			if err := json.Unmarshal([]byte(e.Data), &b); err != nil {
				t.Fatal(err)
			}
			seen[strings.TrimSpace(e.Name+" "+b.ID)] = e.Data
		}
	}
	wait(func() bool { return seen["status"] != "" && seen["batch a"] != "" })
	s.Add("b", 3)
	wait(func() bool { return seen["batch b"] != "" && strings.Contains(seen["status"], `"waiting":4`) })
	webtest.StopSending(t, s.Redis, "ResourceUnavailable.ServiceExpired")
	wait(func() bool { return strings.Contains(seen["status"], "ServiceExpired") })
}

func TestStreamLimit(t *testing.T) {
	s := webtest.NewService(t)
	s.Add("b", 1)
	for range web.MaxOwnStreams {
		if _, ok := s.Follow("/v1/batches/b/events")(); !ok {
			t.Fatal("a stream ended without an event")
		}
	}
	s.Send("GET", "/v1/batches/b/events", "").Problem(503, "busy")
	resp, err := s.Client.Do(s.Request("GET", "/v1/batches/b/events", "", "Authorization",
		"Bearer "+s.Tokens[web.RoleView]))
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("another token: %v, %v, want 200", resp, err)
	}
	go io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
}
