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
	first := over(t, c.request(t, create, roomWith("http://192.0.2.1/hook"))).TaskID
	over(t, c.request(t, create, room7))
	over(t, c.request(t, create, `{}`))
	over(t, c.request(t, create, room7))

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
		t.Errorf("got %+v", st)
	}
	if d := cmp.Diff(map[string]int64{"OK": 2, "MissingParameter": 1, "RequestLimitExceeded": 1}, st.Codes); d != "" {
		t.Errorf("codes (-want +got):\n%s", d)
	}
	a := st.Actions[create]
	if a.Received.Requests != 4 || a.Accepted.Requests != 3 || a.Rejected != 1 || a.Received.SlidingSecond.Requests != 4 ||
		a.Accepted.SlidingSecond.Requests != 3 {
		t.Errorf("calls: %+v", a)
	}
	if age := time.Since(time.Unix(0, a.Received.SlidingSecond.BeginNs)); age < 0 || age > time.Minute {
		t.Errorf("the fullest second began %v ago", age)
	}
	if st.Tasks != (tiwtest.TaskState{Created: 2, Running: 2, Kept: 2}) {
		t.Errorf("tasks: %+v", st.Tasks)
	}
	want := tiwtest.RoomState{Rooms: 1, Repeated: 1,
		Most: []tiwtest.RoomTasks{{SdkAppId: 1400124720, RoomId: 7, Tasks: 2}}}
	if d := cmp.Diff(want, st.Rooms); d != "" {
		t.Errorf("rooms (-want +got):\n%s", d)
	}
	if d := cmp.Diff(st, srv.State()); d != "" {
		t.Errorf("State and /state differ:\n%s", d)
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
		t.Errorf("tasks: %+v", tasks)
	}

	resp, err = http.Get(srv.URL + "/livez")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 200 || string(b) != "ok\n" {
		t.Errorf("livez: %d %s %v", resp.StatusCode, b, err)
	}
}

func TestCallLog(t *testing.T) {
	srv := newServer(t, tiwtest.Options{Clock: newClock(time.Now()).now, Limit: 4, Window: tiwtest.Sliding, RequestLog: 3})
	c := newCaller("h")
	for i := range 5 {
		direct(t, srv, c.request(t, create, fmt.Sprintf(`{"SdkAppId":1,"RoomId":%d,"Whiteboard":{}}`, i+1)))
	}
	direct(t, srv, c.request(t, describe, `{"TaskID":"x","SdkAppId":1}`))
	calls := srv.Requests()
	if len(calls) != 3 {
		t.Fatalf("%d calls are logged, want the last 3", len(calls))
	}
	for i, call := range calls {
		want, creates := "OK", true
		if i == 2 {
			want, creates = "RequestLimitExceeded", false
		}
		if call.RoomId != uint64(i+3) || call.SdkAppId != 1 || call.Outcome != want || (call.TaskID != "") != creates {
			t.Errorf("call %d: %+v", i, call)
		}
		if i > 0 && call.AtNs < calls[i-1].AtNs {
			t.Errorf("call %d came before call %d", i, i-1)
		}
	}
}

func TestWaitCalls(t *testing.T) {
	srv := newServer(t, tiwtest.Options{})
	c := newCaller("h")
	done := make(chan error, 1)
	go func() { done <- srv.WaitRequests(t.Context(), 3) }()
	for range 2 {
		direct(t, srv, c.request(t, create, room7))
	}
	select {
	case err := <-done:
		t.Fatalf("two calls were enough: %v", err)
	default:
	}
	direct(t, srv, c.request(t, create, room7))
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := srv.WaitRequests(t.Context(), 3); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := srv.WaitRequests(ctx, 4); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}
