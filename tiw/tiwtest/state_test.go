package tiwtest_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/tiw/tiwtest"
)

func TestStateAsJSON(t *testing.T) {
	srv := tiwtest.Start(t, tiwtest.Options{
		Clock: newClock(time.Now()).now, Limit: 3, Window: tiwtest.Sliding, Seed: 5, TaskDuration: time.Hour,
	})
	c := newCaller(hostOf(srv))
	first := do(t, c.request(t, create, roomWithCallback("http://192.0.2.1/hook"))).TaskID
	do(t, c.request(t, create, room7))
	do(t, c.request(t, create, `{}`))
	do(t, c.request(t, create, room7))

	resp, err := http.Get(srv.URL + "/state")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var st tiwtest.State
	d := json.NewDecoder(resp.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&st); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(st.Note, "not Tencent") || st.Seed != 5 || st.Limit != 3 || st.Window != tiwtest.Sliding ||
		st.Requests != 4 {
		t.Errorf("state is %+v, want seed 5, limit 3, sliding seconds, 4 requests and the note", st)
	}
	if d := cmp.Diff(map[string]int64{"OK": 2, "MissingParameter": 1, "RequestLimitExceeded": 1}, st.Codes); d != "" {
		t.Errorf("codes (-want +got):\n%s", d)
	}
	a := st.Actions[create]
	if a.Received.Requests != 4 || a.Accepted.Requests != 3 || a.Rejected != 1 || a.Received.SlidingSecond.Requests != 4 ||
		a.Accepted.SlidingSecond.Requests != 3 {
		t.Errorf("State().Actions has %+v, want 4 received, 3 accepted, 1 rejected", a)
	}
	if age := time.Since(time.Unix(0, a.Received.SlidingSecond.BeginNs)); age < 0 || age > time.Minute {
		t.Errorf("the peak second began %v ago, want up to a minute", age)
	}
	if st.Tasks != (tiwtest.TaskState{Created: 2, Running: 2, Kept: 2}) {
		t.Errorf("State().Tasks = %+v, want two running", st.Tasks)
	}
	want := tiwtest.RoomState{Rooms: 1, Repeated: 1,
		Most: []tiwtest.RoomTasks{{SdkAppId: 1400124720, RoomId: 7, Tasks: 2}}}
	if d := cmp.Diff(want, st.Rooms); d != "" {
		t.Errorf("rooms (-want +got):\n%s", d)
	}
	if d := cmp.Diff(st, srv.State()); d != "" {
		t.Errorf("State() and /state differ:\n%s", d)
	}

	resp, err = http.Get(srv.URL + "/state/tasks")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	var tasks []tiwtest.Task
	for lines.Scan() {
		var task tiwtest.Task
		if err := json.Unmarshal(lines.Bytes(), &task); err != nil {
			t.Fatal(err)
		}
		tasks = append(tasks, task)
	}
	if len(tasks) != 2 || tasks[0].TaskID != first || tasks[0].CallbackURL != "http://192.0.2.1/hook" ||
		tasks[0].RoomId != 7 ||
		tasks[0].SdkAppId != 1400124720 || tasks[0].State != "Running" || tasks[0].CreatedNs > tasks[1].CreatedNs {
		t.Errorf("GET /state/tasks lists %+v, want two running tasks of room 7 in order", tasks)
	}

	resp, err = http.Get(srv.URL + "/livez")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 200 || string(b) != "ok\n" {
		t.Errorf("GET /livez: status %d, %q, %v, want 200, ok", resp.StatusCode, b, err)
	}
}

func TestRequestLog(t *testing.T) {
	srv := newServer(t, tiwtest.Options{Clock: newClock(time.Now()).now, Limit: 4, Window: tiwtest.Sliding, RequestLog: 3})
	c := newCaller("h")
	for i := range 5 {
		serve(t, srv, c.request(t, create, fmt.Sprintf(`{"SdkAppId":1,"RoomId":%d,"Whiteboard":{}}`, i+1)))
	}
	serve(t, srv, c.request(t, describe, `{"TaskID":"x","SdkAppId":1}`))
	requests := srv.Requests()
	if len(requests) != 3 {
		t.Fatalf("the log has %d requests, want the last 3", len(requests))
	}
	for i, request := range requests {
		want, creates := "OK", true
		if i == 2 {
			want, creates = "RequestLimitExceeded", false
		}
		if request.RoomId != uint64(i+3) || request.SdkAppId != 1 || request.Outcome != want ||
			(request.TaskID != "") != creates {
			t.Errorf("request %d is logged as %+v, want outcome %s for room %d", i, request, want, i+3)
		}
		if i > 0 && request.AtNs < requests[i-1].AtNs {
			t.Errorf("request %d of the log arrived before request %d", i, i-1)
		}
	}
}

func TestWaitRequests(t *testing.T) {
	srv := newServer(t, tiwtest.Options{})
	c := newCaller("h")
	done := make(chan error, 1)
	go func() { done <- srv.WaitRequests(t.Context(), 3) }()
	for range 2 {
		serve(t, srv, c.request(t, create, room7))
	}
	select {
	case err := <-done:
		t.Fatalf("WaitRequests(3) returned after two requests: %v", err)
	default:
	}
	serve(t, srv, c.request(t, create, room7))
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := srv.WaitRequests(t.Context(), 3); err != nil {
		t.Errorf("WaitRequests(3) after three requests: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := srv.WaitRequests(ctx, 4); !errors.Is(err, context.Canceled) {
		t.Errorf("WaitRequests() = %v, want context.Canceled", err)
	}
}
