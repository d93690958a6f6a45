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

func TestFollowABatchToItsEnd(t *testing.T) {
	needs.Time(t)
	s := webtest.NewService(t)
	s.Add("b", 2)
	next := s.Follow("/v1/batches/b/events")
	batch := func() (webtest.Event, api.Batch) {
		t.Helper()
		e, ok := next()
		var b api.Batch
		if err := json.Unmarshal([]byte(e.Data), &b); !ok || err != nil {
			t.Fatalf("%+v, %v, %v", e, ok, err)
		}
		return e, b
	}
	if e, b := batch(); e.Name != "batch" || b.Queued != 2 {
		t.Errorf("the first: %+v", e)
	}
	s.Outcome("b.1", webtest.Broken)
	e, b := batch()
	for b.Failed != 1 {
		e, b = batch()
	}
	if e.Name != "batch" {
		t.Errorf("then: %+v", e)
	}
	s.Outcome("b.2", webtest.Broken)
	for e.Name != "end" {
		e, b = batch()
	}
	if e.Id != "end" || b.Failed != 2 || b.State != "ended" {
		t.Errorf("the last: %+v", e)
	}
	if e, ok := next(); ok {
		t.Errorf("after it: %+v", e)
	}
	if r := s.Send("GET", "/v1/batches/b/events", "", "Last-Event-ID", "end"); r.Status != http.StatusNoContent {
		t.Errorf("a browser that comes back: %d", r.Status)
	}
	next = s.Follow("/v1/batches/b/events")
	for _, want := range []string{"batch", "end"} {
		if e, ok := next(); !ok || e.Name != want {
			t.Errorf("%+v, want %s", e, want)
		}
	}
	s.Send("GET", "/v1/batches/none/events", "").Problem(404, "not-found")
}

func TestFollowEverything(t *testing.T) {
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

func TestStreamsAreBounded(t *testing.T) {
	s := webtest.NewService(t)
	s.Add("b", 1)
	for range web.MaxOwnStreams {
		if e, ok := s.Follow("/v1/batches/b/events")(); !ok {
			t.Fatal(e)
		}
	}
	s.Send("GET", "/v1/batches/b/events", "").Problem(503, "busy")
	resp, err := s.Client.Do(s.Request("GET", "/v1/batches/b/events", "", "Authorization",
		"Bearer "+s.Tokens[web.RoleView]))
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("somebody else: %v, %v", resp, err)
	}
	go io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
}
