package tiwtest_test

import (
	"fmt"
	"testing"
	"time"

	"tiwsnap/tiw/tiwtest"
)

func describeBody(id string) string {
	return `{"TaskID":"` + id + `","SdkAppId":1400124720}`
}

func TestTaskStates(t *testing.T) {
	start := time.Unix(1760000000, 0)
	clk := newClock(start)
	srv := newServer(t, tiwtest.Options{
		Clock: clk.now, TaskDuration: 10 * time.Second, TaskRetention: time.Hour, PublicURL: "https://images.example/",
	})
	c := newCaller("h")
	c.now = clk.now
	id := serve(t, srv, c.request(t, create, room7)).TaskID

	clk.advance(9 * time.Second)
	d := serve(t, srv, c.request(t, describe, describeBody(id)))
	if d.Status != "Running" || d.CreateTime != start.Unix() || d.FinishTime != nil || d.Result != nil {
		t.Errorf("after 9 of 10 seconds: got %+v, want a running task", d)
	}
	clk.advance(time.Second)
	d = serve(t, srv, c.request(t, describe, describeBody(id)))
	if d.Status != "Finished" || d.FinishTime == nil || *d.FinishTime != start.Unix()+10 {
		t.Fatalf("after 10 seconds: got %+v, want a finished task", d)
	}
	if r := d.Result; r.ErrorCode != "OK" || r.ErrorMessage != "" || r.Total < 1 || r.Total > 4 ||
		len(r.Snapshots) != r.Total {
		t.Errorf("result is %+v, want OK with 1 to 4 images", d.Result)
	}
	if want := "https://images.example/images/7/" + id + "/1.png"; d.Result.Snapshots[0] != want {
		t.Errorf("the first image has the URL %s, want %s", d.Result.Snapshots[0], want)
	}
	clk.advance(time.Hour)
	if code := serve(t, srv, c.request(t, describe, describeBody(id))).code(); code != "InvalidParameter.TaskNotFound" {
		t.Errorf("an hour after the end: got %s, want InvalidParameter.TaskNotFound", code)
	}
	serve(t, srv, c.request(t, create, room7))
	if st := srv.State().Tasks; st != (tiwtest.TaskState{Created: 2, Running: 1, Succeeded: 1, Kept: 1}) {
		t.Errorf("State().Tasks = %+v, want 2 created, 1 running, 1 succeeded, 1 kept", st)
	}
}

func TestFailedTasks(t *testing.T) {
	srv := newServer(t, tiwtest.Options{TaskFailure: 1})
	c := newCaller("h")
	id := serve(t, srv, c.request(t, create, room7)).TaskID
	d := serve(t, srv, c.request(t, describe, describeBody(id)))
	if d.Status != "Finished" || d.Result == nil || d.Result.ErrorCode != "InternalErr" ||
		d.Result.ErrorMessage == "" || d.Result.Total != 0 {
		t.Errorf("got %+v with result %+v, want a finished task with InternalErr", d, d.Result)
	}
	if st := srv.State().Tasks; st.Failed != 1 || st.Succeeded != 0 {
		t.Errorf("State().Tasks = %+v, want 1 failed", st)
	}
}

func TestTaskDurations(t *testing.T) {
	clk := newClock(time.Unix(1760000000, 0))
	srv := newServer(t, tiwtest.Options{
		Clock: clk.now, Limit: -1, Seed: 1, TaskDuration: 10 * time.Second, TaskSigma: 0.5,
	})
	c := newCaller("h")
	c.now = clk.now
	for range 400 {
		serve(t, srv, c.request(t, create, room7))
	}
	for _, test := range []struct {
		after    time.Duration
		from, to int64 // finished by then; the quantiles of the lognormal are 8 %, 50 %, 92 %
	}{{5 * time.Second, 15, 55}, {10 * time.Second, 160, 240}, {20 * time.Second, 345, 390}} {
		clk.ns.Store(time.Unix(1760000000, 0).Add(test.after).UnixNano())
		if n := srv.State().Tasks.Succeeded; n < test.from || n > test.to {
			t.Errorf("%d of 400 tasks ended within %v, want %d to %d", n, test.after, test.from, test.to)
		}
	}
}

func TestMaxTasks(t *testing.T) {
	srv := newServer(t, tiwtest.Options{Limit: -1, MaxTasks: 300, TaskDuration: time.Hour})
	c := newCaller("h")
	var ids []string
	for i := range 2000 {
		body := fmt.Sprintf(`{"SdkAppId":1400124720,"RoomId":%d,"Whiteboard":{}}`, 1+i/2)
		ids = append(ids, serve(t, srv, c.request(t, create, body)).TaskID)
	}
	st := srv.State()
	if st.Tasks != (tiwtest.TaskState{Created: 2000, Running: 300, Dropped: 1700, Kept: 300}) {
		t.Errorf("State().Tasks = %+v, want 300 kept and 1700 dropped of 2000", st.Tasks)
	}
	if st.Rooms.Rooms != 150 || st.Rooms.Repeated != 150 || len(st.Rooms.Most) != 100 || st.Rooms.Most[0].Tasks != 2 {
		t.Errorf("State().Rooms has %d rooms, %d repeated, want 150 and 150", st.Rooms.Rooms, st.Rooms.Repeated)
	}
	for i, want := range map[int]string{0: "InvalidParameter.TaskNotFound", 1699: "InvalidParameter.TaskNotFound",
		1700: "OK", 1999: "OK"} {
		if code := serve(t, srv, c.request(t, describe, describeBody(ids[i]))).code(); code != want {
			t.Errorf("task %d: got %s, want %s", i, code, want)
		}
	}
	n := 1700
	for task := range srv.Tasks() {
		if task.TaskID != ids[n] || task.RoomId != uint64(1+n/2) || task.State != tiwtest.Running {
			t.Fatalf("Tasks() yields %+v, want running task %d, %s", task, n, ids[n])
		}
		n++
	}
	if n != 2000 {
		t.Errorf("Tasks() ends at task %d, want 2000", n)
	}
}

func TestUnknownTasks(t *testing.T) {
	const unknown = "00000000-0000-4000-8000-000000000000"
	for setting, want := range map[string]string{
		"": "InvalidParameter.TaskNotFound", "FailedOperation": "FailedOperation", "nulls": "OK",
	} {
		t.Run(setting, func(t *testing.T) {
			srv := newServer(t, tiwtest.Options{Faults: tiwtest.Faults{UnknownTask: setting}})
			c := newCaller("h")
			id := serve(t, srv, c.request(t, create, room7)).TaskID
			if d := serve(t, srv, c.request(t, describe, describeBody(unknown))); d.code() != want || d.Status != "" {
				t.Errorf("unknown task: got %+v, want %s", d, want)
			}
			c.header = map[string]string{"X-TC-Region": "ap-guangzhou"}
			if d := serve(t, srv, c.request(t, describe, describeBody(id))); d.code() != want || d.Status != "" {
				t.Errorf("task of another region: got %+v, want %s", d, want)
			}
			c.header = nil
			if d := serve(t, srv, c.request(t, describe, describeBody(id))); d.Status != "Finished" {
				t.Errorf("task of its own region: got %+v, want a finished task", d)
			}
		})
	}
}
