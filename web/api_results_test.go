package web_test

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/enqueue"
	"tiwsnap/internal/keys"
	"tiwsnap/ledger"
	"tiwsnap/results"
	"tiwsnap/tasks"
	"tiwsnap/web"
)

// add enqueues a batch of n rooms.
func (s *service) add(id string, n int) {
	s.Helper()
	_, err := enqueue.New(s.rdb, keys.Default).Batch(s.Context(), func(yield func(tasks.Room, error) bool) {
		for i := range n {
			if !yield(tasks.Room{RoomId: uint64(i + 1), Label: map[string]string{"Sum": "=1+1"}}, nil) {
				return
			}
		}
	}, enqueue.BatchOptions{ID: id, Defaults: tasks.Room{SdkAppId: 7}})
	if err != nil {
		s.Fatal(err)
	}
}

// outcome makes one attempt at a snapshot, which comes to this.
func (s *service) outcome(id string, o ledger.Outcome) {
	s.Helper()
	l := ledger.New(s.rdb, ledger.Options{})
	batch, row, _ := tasks.SplitRowID(id)
	room := tasks.Room{SdkAppId: 7, RoomId: uint64(max(row, 1))}
	in, err := l.Begin(s.Context(), tasks.SnapshotPayload{ID: id, Batch: batch, Room: room}, id, "")
	if err != nil || in.Verdict != ledger.Send {
		s.Fatal(in, err)
	}
	if err := l.Outcome(s.Context(), id, in.Attempt, o); err != nil {
		s.Fatal(err)
	}
}

var broken = ledger.Outcome{State: ledger.Failed, Costs: true, Code: "FailedOperation.Transcode", Message: "=broken",
	RequestID: "r-1"}

func TestBatchesInPages(t *testing.T) {
	s := newService(t)
	var want []string
	for i := range 23 {
		id := fmt.Sprintf("b-%02d", i)
		s.add(id, 1)
		want = append(want, id)
	}
	// Some of the same millisecond.
	created, err := s.rdb.ZScore(t.Context(), "{tiwsnap}:batches", want[10]).Result()
	if err != nil {
		t.Fatal(err)
	}
	for i := 7; i < 15; i++ {
		s.rdb.Do(t.Context(), "ZADD", "{tiwsnap}:batches", int64(created), want[i])
	}
	slices.Reverse(want)
	for _, limit := range []int{1, 5, 22, 23, 50} {
		var got []string
		for cursor := "-"; cursor != ""; {
			var page struct {
				Batches []web.Batch
				Next    string
			}
			s.send("GET", fmt.Sprintf("/v1/batches?limit=%d&cursor=%s", limit, strings.Trim(cursor, "-")), "").want(200, &page)
			if len(page.Batches) > limit {
				t.Errorf("%d on a page of %d", len(page.Batches), limit)
			}
			for _, b := range page.Batches {
				got = append(got, b.ID)
			}
			cursor = page.Next
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("in pages of %d: %s", limit, diff)
		}
	}
	s.send("GET", "/v1/batches?cursor=x", "").problem(422, "invalid")
	s.send("GET", "/v1/batches?limit=501", "").problem(422, "invalid")
}

func TestResultsInEveryForm(t *testing.T) {
	s := newService(t)
	s.add("b", 1234)
	for _, row := range []int{3, 700, 1234} {
		s.outcome(tasks.RowID("b", row), broken)
	}
	var all []string
	for n := range 1234 {
		all = append(all, tasks.RowID("b", n+1))
	}
	failed := []string{"b.3", "b.700", "b.1234"}

	for query, want := range map[string][]string{
		"":                     all,
		"limit=1000":           all,
		"limit=617":            all,
		"state=failed":         failed,
		"state=failed&limit=1": failed,
		"state=succeeded":      nil,
		"state=queued&limit=1000": slices.DeleteFunc(slices.Clone(all),
			func(id string) bool { return slices.Contains(failed, id) }),
	} {
		var got []string
		for cursor := 1; cursor != 0; {
			var page web.SnapshotPage
			s.send("GET", fmt.Sprintf("/v1/batches/b/snapshots?%s&cursor=%d", query, cursor), "").want(200, &page)
			for _, r := range page.Snapshots {
				got = append(got, r.ID)
			}
			cursor = page.Next
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", query, diff)
		}
	}

	t.Run("CSV", func(t *testing.T) {
		for _, form := range [][]string{{"", "Accept", "text/csv"}, {"?format=csv"}} {
			r := s.send("GET", "/v1/batches/b/snapshots"+form[0], "", form[1:]...).want(200, nil)
			lines, err := csv.NewReader(strings.NewReader(r.body)).ReadAll()
			if err != nil || len(lines) != 1235 || lines[3][0] != "b.3" || lines[3][5] != "'=broken" || lines[3][11] != "'=1+1" {
				t.Errorf("%v, %d lines, %q", err, len(lines), lines[3])
			}
			if r.header.Get("Content-Type") != "text/csv; charset=utf-8" ||
				r.header.Get("Content-Disposition") != `attachment; filename="b.csv"` {
				t.Errorf("%v", r.header)
			}
		}
	})
	t.Run("JSON lines", func(t *testing.T) {
		r := s.send("GET", "/v1/batches/b/snapshots?state=failed", "", "Accept", "application/x-ndjson").want(200, nil)
		var got []string
		for line := range strings.Lines(r.body) {
			var s results.Result
			if err := json.Unmarshal([]byte(line), &s); err != nil || s.Code != broken.Code || s.Meaning == "" || s.Fix == "" {
				t.Errorf("%s, %v", line, err)
			}
			got = append(got, s.ID)
		}
		if !slices.Equal(got, failed) {
			t.Errorf("got %v", got)
		}
	})
	t.Run("a list of which a part cannot be read breaks off", func(t *testing.T) {
		if err := s.rdb.HSet(context.Background(), "{tiwsnap}:rows:b", "1", "broken").Err(); err != nil {
			t.Fatal(err)
		}
		fresh := serve(t, s.rdb) // whose backlog has not read that chunk yet
		resp, err := fresh.client.Do(fresh.request("GET", "/v1/batches/b/snapshots?format=csv", ""))
		if err != nil {
			return
		}
		defer resp.Body.Close()
		if b, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("it came whole: %d bytes", len(b))
		}
	})
	s.send("GET", "/v1/batches/none/snapshots", "").problem(404, "not-found")
	s.send("GET", "/v1/batches/none", "").problem(404, "not-found")
	s.send("GET", "/v1/batches/b/snapshots?state=lost", "").problem(422, "invalid")
}

func TestSnapshots(t *testing.T) {
	s := newService(t)
	var made web.EnqueuedSnapshot
	r := s.send("POST", "/v1/snapshots", `{"SdkAppId":7,"RoomId":1,"Key":"lesson-7","Label":{"Class":"3B"}}`,
		"Content-Type", "application/json").want(202, &made)
	if !made.Created || r.header.Get("Location") != "/v1/snapshots/"+made.ID {
		t.Errorf("%+v %v", made, r.header)
	}
	var got results.Result
	s.send("GET", "/v1/snapshots/"+made.ID, "").want(200, &got)
	if got.State != ledger.Queued || got.Room.RoomId != 1 || got.Room.Label["Class"] != "3B" {
		t.Errorf("%+v", got)
	}
	t.Run("the same Key is the same snapshot", func(t *testing.T) {
		var again web.EnqueuedSnapshot
		s.send("POST", "/v1/snapshots", `{"SdkAppId":7,"RoomId":1,"Key":"lesson-7","Label":{"Class":"3B"}}`).want(200, &again)
		if again.ID != made.ID || again.Created {
			t.Errorf("%+v", again)
		}
		s.send("POST", "/v1/snapshots", `{"SdkAppId":7,"RoomId":1,"Key":"lesson-7"}`).problem(409, "exists")
	})
	t.Run("without a Key each is a new one", func(t *testing.T) {
		var one, two web.EnqueuedSnapshot
		s.send("POST", "/v1/snapshots", `{"SdkAppId":7,"RoomId":1}`).want(202, &one)
		s.send("POST", "/v1/snapshots", `{"SdkAppId":7,"RoomId":1}`).want(202, &two)
		if one.ID == two.ID || !one.Created || !two.Created {
			t.Errorf("%+v %+v", one, two)
		}
	})
	t.Run("what is wrong is said", func(t *testing.T) {
		for body, says := range map[string]string{
			`{"SdkAppId":7}`:                                 `"field":"RoomId","reason":"is missing"`,
			`{"SdkAppId":7,"RoomId":"1"}`:                    `"field":"body.RoomId"`,
			`{"SdkAppId":7,"RoomId":-1}`:                     `"field":"body.RoomId"`,
			`{"SdkAppId":7,"RoomId":1,"a":1}`:                `"field":"body.a"`,
			`{"SdkAppId":7,"RoomId":1,"SnapshotMode":"All"}`: `"field":"SnapshotMode"`,
			`{"SdkAppId":7,"RoomId":1,"Key":"\u0007"}`:       `"field":"Key"`,
		} {
			r := s.send("POST", "/v1/snapshots", body)
			r.problem(422, "invalid")
			if !strings.Contains(r.body, says) {
				t.Errorf("%s: it does not say %s: %s", body, says, r.body)
			}
		}
		s.send("POST", "/v1/snapshots", `{`).problem(400, "invalid")
		s.send("POST", "/v1/snapshots", `{}`, "Content-Type", "text/csv").problem(415, "media-type")
		s.send("POST", "/v1/snapshots", `{"Label":{"a":"`+strings.Repeat("a", 2<<20)+`"}}`).problem(413, "too-large")
	})
	for _, id := range []string{"none", "b.1", "s-none", "%2e%2e", "a%2fb", strings.Repeat("a", 80)} {
		s.send("GET", "/v1/snapshots/"+id, "").problem(404, "not-found")
		s.send("POST", "/v1/snapshots/"+id+"/cancel", "").problem(404, "not-found")
		s.send("POST", "/v1/snapshots/"+id+"/retry", "").problem(404, "not-found")
	}
}

func TestOperations(t *testing.T) {
	s := newService(t)
	s.add("b", 20)
	s.outcome("b.1", broken)
	s.outcome("b.2", ledger.Outcome{State: ledger.Accepted, TaskID: "t-1"})
	s.outcome("s-single", broken)
	var b web.Batch
	s.send("POST", "/v1/batches/b/pause", "").want(200, &b)
	if b.State != "paused" {
		t.Errorf("after the pause: %+v", b)
	}
	b = web.Batch{}
	s.send("POST", "/v1/batches/b/resume", "").want(200, &b)
	if b.State != "running" {
		t.Errorf("after it: %+v", b)
	}

	var failures struct {
		Failures []results.Failure
		Complete bool
	}
	s.send("GET", "/v1/failures", "").want(200, &failures)
	if len(failures.Failures) != 1 || failures.Failures[0].Count != 2 || failures.Failures[0].Code != broken.Code ||
		!failures.Complete {
		t.Errorf("failures: %+v", failures)
	}
	s.send("GET", "/v1/failures?batch=b", "").want(200, &failures)
	if len(failures.Failures) != 1 || failures.Failures[0].Count != 1 {
		t.Errorf("failures of the batch: %+v", failures)
	}
	s.send("GET", "/v1/failures?batch=none", "").problem(404, "not-found")

	var retried struct {
		Retried  int
		Complete bool
		Batch    web.Batch
	}
	other := s.send("POST", "/v1/batches/b/retry?code=Other", "").problem(409, "state")
	if other.Detail != "nothing to retry: no snapshot that failed has the code Other; they have "+broken.Code+" (1)" {
		t.Errorf("another code: %+v", other)
	}
	s.send("POST", "/v1/batches/b/retry?code=FailedOperation", "").want(200, &retried)
	if retried.Retried != 1 || !retried.Complete || retried.Batch.Failed != 0 {
		t.Errorf("%+v", retried)
	}
	s.send("POST", "/v1/batches/b/retry", "").problem(409, "state")
	var one results.Result
	s.send("POST", "/v1/snapshots/s-single/retry", "").want(202, &one)
	if one.State != ledger.Queued {
		t.Errorf("%+v", one)
	}
	s.send("POST", "/v1/snapshots/s-single/retry", "").problem(409, "state")
	s.send("POST", "/v1/snapshots/s-single/cancel", "").want(200, &one)
	if one.State != ledger.Canceled {
		t.Errorf("%+v", one)
	}
	s.send("POST", "/v1/snapshots/s-single/cancel", "").want(200, nil)
	s.send("POST", "/v1/snapshots/b.2/cancel", "").problem(409, "state")
	s.send("POST", "/v1/snapshots/b.3/cancel", "").want(200, &one)
	if one.State != ledger.Canceled || one.ID != "b.3" {
		t.Errorf("%+v", one)
	}

	var canceled struct {
		Canceled int `json:"canceled_now"`
		Batch    web.Batch
	}
	s.send("POST", "/v1/batches/b/cancel", "").want(200, &canceled)
	if canceled.Canceled < 17 || canceled.Batch.State != "canceled" || canceled.Batch.Accepted != 1 {
		t.Errorf("%+v", canceled)
	}
	s.send("POST", "/v1/batches/b/cancel", "").want(200, nil)
	s.send("POST", "/v1/batches/b/pause", "").problem(409, "state")
	for _, verb := range []string{"cancel", "pause", "resume", "retry"} {
		s.send("POST", "/v1/batches/none/"+verb, "").problem(404, "not-found")
	}
	if log := s.log.String(); !strings.Contains(log,
		`"by":"the-operate","method":"POST","path":"/v1/batches/b/cancel","status":200`) {
		t.Errorf("who canceled is not logged:\n%s", log)
	}
}
