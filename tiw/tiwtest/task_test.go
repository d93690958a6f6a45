package tiwtest_test

import (
	"fmt"
	"image/png"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"tiwsnap/internal/needs"
	"tiwsnap/tiw/tiwtest"
)

func describeBody(id string) string {
	return `{"TaskID":"` + id + `","SdkAppId":1400124720}`
}

func TestTasksRunAndEnd(t *testing.T) {
	start := time.Unix(1760000000, 0)
	clk := newClock(start)
	srv := newServer(t, tiwtest.Options{
		Clock: clk.now, TaskDuration: 10 * time.Second, TaskRetention: time.Hour, PublicURL: "https://images.example/",
	})
	c := newCaller("h")
	c.now = clk.now
	id := direct(t, srv, c.request(t, create, room7)).TaskID

	clk.advance(9 * time.Second)
	d := direct(t, srv, c.request(t, describe, describeBody(id)))
	if d.Status != "Running" || d.CreateTime != start.Unix() || d.FinishTime != nil || d.Result != nil {
		t.Errorf("after 9 of 10 seconds: %+v", d)
	}
	clk.advance(time.Second)
	d = direct(t, srv, c.request(t, describe, describeBody(id)))
	if d.Status != "Finished" || d.FinishTime == nil || *d.FinishTime != start.Unix()+10 {
		t.Fatalf("after 10 seconds: %+v", d)
	}
	if r := d.Result; r.ErrorCode != "OK" || r.ErrorMessage != "" || r.Total < 1 || r.Total > 4 ||
		len(r.Snapshots) != r.Total {
		t.Errorf("the result is %+v", d.Result)
	}
	if want := "https://images.example/images/7/" + id + "/1.png"; d.Result.Snapshots[0] != want {
		t.Errorf("the first image is %s, want %s", d.Result.Snapshots[0], want)
	}
	clk.advance(time.Hour)
	if code := direct(t, srv, c.request(t, describe, describeBody(id))).code(); code != "InvalidParameter.TaskNotFound" {
		t.Errorf("an hour after its end: %s", code)
	}
	direct(t, srv, c.request(t, create, room7))
	if st := srv.State().Tasks; st != (tiwtest.TaskState{Created: 2, Running: 1, Succeeded: 1, Kept: 1}) {
		t.Errorf("counted %+v", st)
	}
}

func TestFailedTasks(t *testing.T) {
	srv := newServer(t, tiwtest.Options{TaskFailure: 1})
	c := newCaller("h")
	id := direct(t, srv, c.request(t, create, room7)).TaskID
	d := direct(t, srv, c.request(t, describe, describeBody(id)))
	if d.Status != "Finished" || d.Result == nil || d.Result.ErrorCode != "InternalErr" ||
		d.Result.ErrorMessage == "" || d.Result.Total != 0 {
		t.Errorf("described as %+v %+v", d, d.Result)
	}
	if st := srv.State().Tasks; st.Failed != 1 || st.Succeeded != 0 {
		t.Errorf("counted %+v", st)
	}
}

func TestTaskDurationsAreSpread(t *testing.T) {
	clk := newClock(time.Unix(1760000000, 0))
	srv := newServer(t, tiwtest.Options{
		Clock: clk.now, Limit: -1, Seed: 1, TaskDuration: 10 * time.Second, TaskSigma: 0.5,
	})
	c := newCaller("h")
	c.now = clk.now
	for range 400 {
		direct(t, srv, c.request(t, create, room7))
	}
	for _, test := range []struct {
		after    time.Duration
		from, to int64 // finished by then; the quantiles of the lognormal are 8 %, 50 %, 92 %
	}{{5 * time.Second, 15, 55}, {10 * time.Second, 160, 240}, {20 * time.Second, 345, 390}} {
		clk.ns.Store(time.Unix(1760000000, 0).Add(test.after).UnixNano())
		if n := srv.State().Tasks.Succeeded; n < test.from || n > test.to {
			t.Errorf("%d of 400 ended within %v, want %d to %d", n, test.after, test.from, test.to)
		}
	}
}

func TestTasksAreBounded(t *testing.T) {
	srv := newServer(t, tiwtest.Options{Limit: -1, MaxTasks: 300, TaskDuration: time.Hour})
	c := newCaller("h")
	var ids []string
	for i := range 2000 {
		body := fmt.Sprintf(`{"SdkAppId":1400124720,"RoomId":%d,"Whiteboard":{}}`, 1+i/2)
		ids = append(ids, direct(t, srv, c.request(t, create, body)).TaskID)
	}
	st := srv.State()
	if st.Tasks != (tiwtest.TaskState{Created: 2000, Running: 300, Dropped: 1700, Kept: 300}) {
		t.Errorf("counted %+v", st.Tasks)
	}
	if st.Rooms.Rooms != 150 || st.Rooms.Repeated != 150 || len(st.Rooms.Most) != 100 || st.Rooms.Most[0].Tasks != 2 {
		t.Errorf("rooms: %d, repeated %d", st.Rooms.Rooms, st.Rooms.Repeated)
	}
	for i, want := range map[int]string{0: "InvalidParameter.TaskNotFound", 1699: "InvalidParameter.TaskNotFound",
		1700: "OK", 1999: "OK"} {
		if code := direct(t, srv, c.request(t, describe, describeBody(ids[i]))).code(); code != want {
			t.Errorf("task %d: %s, want %s", i, code, want)
		}
	}
	n := 1700
	for task := range srv.Tasks() {
		if task.TaskID != ids[n] || task.RoomId != uint64(1+n/2) || task.State != tiwtest.Running {
			t.Fatalf("task %d is listed as %+v", n, task)
		}
		n++
	}
	if n != 2000 {
		t.Errorf("the list ends at %d", n)
	}
}

func TestImages(t *testing.T) {
	needs.Time(t)
	get := func(t *testing.T, srv *tiwtest.Server, url string) *httptest.ResponseRecorder {
		t.Helper()
		w := httptest.NewRecorder()
		srv.ServeHTTP(w, httptest.NewRequest(http.MethodGet, url, nil))
		return w
	}
	for _, test := range []struct {
		board         string
		width, height int
	}{
		{`{}`, 1280, 720},
		{`{"Width":0,"Height":0}`, 1280, 720},
		{`{"Width":640,"Height":360}`, 640, 360},
		{`{"Width":1,"Height":1}`, 1, 1},
		{`{"Width":2560,"Height":3}`, 2560, 3},
	} {
		t.Run(test.board, func(t *testing.T) {
			srv := newServer(t, tiwtest.Options{})
			c := newCaller("127.0.0.1:9090")
			id := direct(t, srv, c.request(t, create, `{"SdkAppId":1400124720,"RoomId":7,"Whiteboard":`+test.board+`}`)).TaskID
			for i, url := range direct(t, srv, c.request(t, describe, describeBody(id))).Result.Snapshots {
				if want := fmt.Sprintf("http://127.0.0.1:9090/images/7/%s/%d.png", id, i+1); url != want {
					t.Errorf("image %d is at %s, want %s", i, url, want)
				}
				w := get(t, srv, url)
				if w.Code != 200 || w.Header().Get("Content-Type") != "image/png" {
					t.Fatalf("%d, %v", w.Code, w.Header())
				}
				if again := get(t, srv, url); again.Body.String() != w.Body.String() {
					t.Error("the second look at an image shows another")
				}
				img, err := png.Decode(w.Body)
				if err != nil {
					t.Fatal(err)
				}
				if b := img.Bounds(); b.Dx() != test.width || b.Dy() != test.height {
					t.Errorf("the image is %v", b)
				}
			}
		})
	}
	t.Run("another room has another image", func(t *testing.T) {
		srv := newServer(t, tiwtest.Options{})
		c := newCaller("h")
		seen := map[string]string{}
		for _, room := range []string{"7", "8", "4294967295"} {
			id := direct(t, srv, c.request(t, create, `{"SdkAppId":1400124720,"RoomId":`+room+`,"Whiteboard":{}}`)).TaskID
			for _, url := range direct(t, srv, c.request(t, describe, describeBody(id))).Result.Snapshots {
				body := get(t, srv, url).Body.String()
				if other, ok := seen[body]; ok {
					t.Errorf("%s is the same as %s", url, other)
				}
				seen[body] = url
			}
		}
	})
	t.Run("there is no image of", func(t *testing.T) {
		clk := newClock(time.Unix(1760000000, 0))
		srv := newServer(t, tiwtest.Options{Clock: clk.now, TaskDuration: time.Minute, ImageRetention: time.Hour})
		c := newCaller("h")
		c.now = clk.now
		url := "http://h/images/7/" + direct(t, srv, c.request(t, create, room7)).TaskID + "/1.png"
		want := func(status int, url, what string) {
			t.Helper()
			if got := get(t, srv, url).Code; got != status {
				t.Errorf("%s: got %d, want %d", what, got, status)
			}
		}
		want(404, url, "a task that runs")
		clk.advance(time.Minute)
		want(200, url, "a task that ended")
		want(404, strings.Replace(url, "/7/", "/8/", 1), "another room")
		want(404, strings.Replace(url, "1.png", "0.png", 1), "page 0")
		want(404, strings.Replace(url, "1.png", "5.png", 1), "page 5")
		want(404, strings.Replace(url, "1.png", "1.gif", 1), "a GIF")
		want(404, "http://h/images/7/x/1.png", "no task")
		clk.advance(time.Hour)
		want(404, url, "a task that ended an hour ago")
	})
}

func TestShapes(t *testing.T) {
	const images = `"Snapshots":["https://i/images/7/ID/1.png"`
	for shape, want := range map[tiwtest.Shape][]string{
		tiwtest.ShapeNullCode:         {`"Status":"Finished"`, `"ErrorCode":null`, images},
		tiwtest.ShapeEmptyCode:        {`"Status":"Finished"`, `"ErrorCode":""`, images},
		tiwtest.ShapeMissingCode:      {`"Status":"Finished"`, `"Result":{"Total":`, images},
		tiwtest.ShapeNoResult:         {`"Status":"Finished"`, `"Result":null`},
		tiwtest.ShapeNoImages:         {`"ErrorCode":"OK"`, `"Total":0,"Snapshots":[]`},
		tiwtest.ShapeFewerImages:      {`"ErrorCode":"OK"`, `"Total":N`, images},
		tiwtest.ShapeFailedWithImages: {`"ErrorCode":"InternalErr"`, images},
		tiwtest.ShapeStatusFailed:     {`"Status":"Failed"`, `"Result":null`},
		tiwtest.ShapeNulls: {`{"Response":{"TaskID":null,"Status":null,"CreateTime":null,` +
			`"FinishTime":null,"Result":null,"RequestId":"`},
	} {
		t.Run(string(shape), func(t *testing.T) {
			clk := newClock(time.Unix(1760000000, 0))
			srv := newServer(t, tiwtest.Options{
				Clock: clk.now, TaskDuration: time.Second, PublicURL: "https://i",
				Faults: tiwtest.Faults{Shapes: map[tiwtest.Shape]float64{shape: 1}},
			})
			c := newCaller("h")
			c.now = clk.now
			id := direct(t, srv, c.request(t, create, room7)).TaskID
			if d := direct(t, srv, c.request(t, describe, describeBody(id))); d.Status != "Running" {
				t.Errorf("while it runs: %+v", d)
			}
			clk.advance(time.Second)
			w := httptest.NewRecorder()
			srv.ServeHTTP(w, c.request(t, describe, describeBody(id)))
			pages := 0
			for task := range srv.Tasks() {
				pages = task.Images
			}
			for _, part := range want {
				part = strings.NewReplacer("ID", id, ":N", fmt.Sprint(":", pages+3)).Replace(part)
				if strings.HasPrefix(part, `{"Response"`) {
					part = want[0]
				}
				if !strings.Contains(w.Body.String(), part) {
					t.Errorf("%s is not in %s", part, w.Body)
				}
			}
		})
	}
	t.Run("come as often as they should", func(t *testing.T) {
		srv := newServer(t, tiwtest.Options{Limit: -1, Seed: 1, Faults: tiwtest.Faults{
			Shapes: map[tiwtest.Shape]float64{tiwtest.ShapeNoImages: .25, tiwtest.ShapeStatusFailed: .5},
		}})
		c := newCaller("h")
		none, failed := 0, 0
		for range 400 {
			id := direct(t, srv, c.request(t, create, room7)).TaskID
			d := direct(t, srv, c.request(t, describe, describeBody(id)))
			switch {
			case d.Status == "Failed":
				failed++
			case len(d.Result.Snapshots) == 0:
				none++
			}
		}
		if none < 70 || none > 130 || failed < 160 || failed > 240 {
			t.Errorf("of 400 tasks %d had no images and %d failed, want about 100 and 200", none, failed)
		}
	})
}

func TestUnknownTasks(t *testing.T) {
	const stranger = "00000000-0000-4000-8000-000000000000"
	for answer, want := range map[string]string{
		"": "InvalidParameter.TaskNotFound", "FailedOperation": "FailedOperation", "nulls": "OK",
	} {
		t.Run(answer, func(t *testing.T) {
			srv := newServer(t, tiwtest.Options{Faults: tiwtest.Faults{UnknownTask: answer}})
			c := newCaller("h")
			id := direct(t, srv, c.request(t, create, room7)).TaskID
			if d := direct(t, srv, c.request(t, describe, describeBody(stranger))); d.code() != want || d.Status != "" {
				t.Errorf("got %+v, want %s", d, want)
			}
			c.header = map[string]string{"X-TC-Region": "ap-guangzhou"}
			if d := direct(t, srv, c.request(t, describe, describeBody(id))); d.code() != want || d.Status != "" {
				t.Errorf("in another region: %+v, want %s", d, want)
			}
			c.header = nil
			if d := direct(t, srv, c.request(t, describe, describeBody(id))); d.Status != "Finished" {
				t.Errorf("in its own region: %+v", d)
			}
		})
	}
}
