package api_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"tiwsnap/ledger"
	"tiwsnap/web/webtest"
)

// checkNoNull checks that a JSON text contains no null.
func checkNoNull(t *testing.T, path, text string) {
	t.Helper()
	var check func(at string, v any)
	check = func(at string, v any) {
		switch v := v.(type) {
		case nil:
			t.Errorf("%s: %s is null: %s", path, at, text)
		case []any:
			for _, e := range v {
				check(at+"[]", e)
			}
		case map[string]any:
			for name, e := range v {
				check(at+"."+name, e)
			}
		}
	}
	for line := range strings.Lines(text) {
		var v any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%s: %v: %s", path, err, line)
		}
		check("", v)
	}
}

// Every array of a response is present and not null, even if it is empty. The OpenAPI document promises it, and the
// responses keep it.
func TestArraysAreNotNull(t *testing.T) {
	s := webtest.NewService(t)
	var spec map[string]any
	s.Send("GET", "/openapi.json", "").Want(200, &spec)
	arrays := 0
	var check func(at string, schema any)
	check = func(at string, schema any) {
		m, ok := schema.(map[string]any)
		if !ok {
			return
		}
		required, _ := m["required"].([]any)
		properties, _ := m["properties"].(map[string]any)
		for name, p := range properties {
			property, _ := p.(map[string]any)
			if _, isArray := property["items"]; !isArray {
				continue
			}
			arrays++
			if property["type"] != "array" || !slices.Contains(required, any(name)) {
				t.Errorf("%s.%s may be missing or null: %v", at, name, property)
			}
		}
		for name, v := range m {
			check(at+"."+name, v)
		}
	}
	check("", spec)
	if arrays < 10 {
		t.Errorf("/openapi.json has %d arrays, want 10 or more", arrays)
	}

	checkPaths := func(paths ...string) {
		t.Helper()
		for _, path := range paths {
			r := s.Send("GET", path, "")
			checkNoNull(t, path, r.Body)
			if strings.Contains(r.Body, `"room":`) && strings.Count(r.Body, `"images":[`) != strings.Count(r.Body, `"room":`) {
				t.Errorf("%s: a snapshot has no array of images: %s", path, r.Body)
			}
			if r.Status >= 400 && !strings.Contains(r.Body, `"errors":[`) {
				t.Errorf("%s: the problem has no array of errors: %s", path, r.Body)
			}
		}
	}
	checkPaths("/v1/batches", "/v1/failures", "/v1/find?q=none", "/v1/limit", "/v1/schedules", "/readyz",
		"/v1/batches/none", "/v1/batches?limit=0")
	s.Add("b", 4)
	s.Outcome("b.1", webtest.Broken)
	l := ledger.New(s.Redis, ledger.Options{})
	s.Outcome("b.2", ledger.Outcome{State: ledger.Accepted, TaskID: "t-1"})
	if err := l.Settle(t.Context(), "b.2", "t-1", ledger.Result{State: ledger.Succeeded}); err != nil {
		t.Fatal(err)
	}
	var single struct{ ID string }
	s.Send("POST", "/v1/snapshots", `{"SdkAppId":7,"RoomId":1}`).Want(202, &single)
	checkPaths("/v1/batches", "/v1/batches/b", "/v1/failures", "/v1/batches/b/snapshots",
		"/v1/batches/b/snapshots?format=jsonl",
		"/v1/batches/b/snapshots?state=sending", "/v1/snapshots/b.1", "/v1/snapshots/b.2", "/v1/snapshots/b.3",
		"/v1/snapshots/"+single.ID)
	s.Add("plain", 1)
	r := s.Send("POST", "/v1/batches?SdkAppId=7", `[{"RoomId":1}]`, "Content-Type", "application/json").Want(202, nil)
	checkNoNull(t, "POST /v1/batches", r.Body)
	checkPaths("/v1/batches") // one of them has no labels
	if e, ok := s.Follow("/v1/events")(); !ok {
		t.Error("/v1/events ended without an event")
	} else {
		checkNoNull(t, "/v1/events", e.Data)
	}
}
