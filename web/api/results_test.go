package api_test

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

	"tiwsnap/ledger"
	"tiwsnap/results"
	"tiwsnap/tasks"
	"tiwsnap/web/api"
	"tiwsnap/web/webtest"
)

func TestBatchPages(t *testing.T) {
	s := webtest.NewService(t)
	var want []string
	for i := range 23 {
		id := fmt.Sprintf("b-%02d", i)
		s.Add(id, 1)
		want = append(want, id)
	}
	// Some batches get the same millisecond.
	created, err := s.Redis.ZScore(t.Context(), "{tiwsnap}:batches", want[10]).Result()
	if err != nil {
		t.Fatal(err)
	}
	for i := 7; i < 15; i++ {
		s.Redis.Do(t.Context(), "ZADD", "{tiwsnap}:batches", int64(created), want[i])
	}
	slices.Reverse(want)
	for _, limit := range []int{1, 5, 22, 23, 50} {
		var got []string
		for cursor := "-"; cursor != ""; {
			var page struct {
				Batches []api.Batch
				Next    string
			}
			s.Send("GET", fmt.Sprintf("/v1/batches?limit=%d&cursor=%s", limit, strings.Trim(cursor, "-")), "").Want(200, &page)
			if len(page.Batches) > limit {
				t.Errorf("a page has %d batches, want at most %d", len(page.Batches), limit)
			}
			for _, b := range page.Batches {
				got = append(got, b.ID)
			}
			cursor = page.Next
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("pages of %d (-want +got):\n%s", limit, diff)
		}
	}
	s.Send("GET", "/v1/batches?cursor=x", "").Problem(422, "invalid")
	s.Send("GET", "/v1/batches?limit=501", "").Problem(422, "invalid")
}

func TestResultFormats(t *testing.T) {
	s := webtest.NewService(t)
	s.Add("b", 1234)
	for _, row := range []int{3, 700, 1234} {
		s.Outcome(tasks.RowID("b", row), webtest.Broken)
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
			var page api.SnapshotPage
			s.Send("GET", fmt.Sprintf("/v1/batches/b/snapshots?%s&cursor=%d", query, cursor), "").Want(200, &page)
			for _, r := range page.Snapshots {
				got = append(got, r.ID)
			}
			cursor = page.Next
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", query, diff)
		}
	}

	t.Run("CSV", func(t *testing.T) {
		for _, form := range [][]string{{"", "Accept", "text/csv"}, {"?format=csv"}} {
			r := s.Send("GET", "/v1/batches/b/snapshots"+form[0], "", form[1:]...).Want(200, nil)
			lines, err := csv.NewReader(strings.NewReader(r.Body)).ReadAll()
			if err != nil || len(lines) != 1235 || lines[3][0] != "b.3" || lines[3][5] != "'=broken" || lines[3][11] != "'=1+1" {
				t.Errorf("CSV: %v, %d lines, the fourth is %q", err, len(lines), lines[3])
			}
			if r.Header.Get("Content-Type") != "text/csv; charset=utf-8" ||
				r.Header.Get("Content-Disposition") != `attachment; filename="b.csv"` {
				t.Errorf("CSV has the header %v", r.Header)
			}
		}
	})
	t.Run("JSON lines", func(t *testing.T) {
		r := s.Send("GET", "/v1/batches/b/snapshots?state=failed", "", "Accept", "application/x-ndjson").Want(200, nil)
		var got []string
		for line := range strings.Lines(r.Body) {
			var s results.Result
			if err := json.Unmarshal([]byte(line), &s); err != nil || s.Code != webtest.Broken.Code ||
				s.Meaning == "" || s.Fix == "" {
				t.Errorf("line is %s, %v, want the code with meaning and fix", line, err)
			}
			got = append(got, s.ID)
		}
		if !slices.Equal(got, failed) {
			t.Errorf("failed snapshots are %v, want %v", got, failed)
		}
	})
	t.Run("an unreadable part ends the response with an error", func(t *testing.T) {
		if err := s.Redis.HSet(context.Background(), "{tiwsnap}:rows:b", "1", "broken").Err(); err != nil {
			t.Fatal(err)
		}
		fresh := webtest.Serve(t, s.Redis) // its backlog has not cached that chunk yet
		resp, err := fresh.Client.Do(fresh.Request("GET", "/v1/batches/b/snapshots?format=csv", ""))
		if err != nil {
			return
		}
		defer resp.Body.Close()
		if b, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("the response ended without an error after %d bytes", len(b))
		}
	})
	s.Send("GET", "/v1/batches/none/snapshots", "").Problem(404, "not-found")
	s.Send("GET", "/v1/batches/none", "").Problem(404, "not-found")
	s.Send("GET", "/v1/batches/b/snapshots?state=lost", "").Problem(422, "invalid")
}

func TestSnapshots(t *testing.T) {
	s := webtest.NewService(t)
	var made api.EnqueuedSnapshot
	r := s.Send("POST", "/v1/snapshots", `{"SdkAppId":7,"RoomId":1,"Key":"lesson-7","Label":{"Class":"3B"}}`,
		"Content-Type", "application/json").Want(202, &made)
	if !made.Created || r.Header.Get("Location") != "/v1/snapshots/"+made.ID {
		t.Errorf("POST = %+v, header %v, want created with its Location", made, r.Header)
	}
	var got results.Result
	s.Send("GET", "/v1/snapshots/"+made.ID, "").Want(200, &got)
	if got.State != ledger.Queued || got.Room.RoomId != 1 || got.Room.Label["Class"] != "3B" {
		t.Errorf("GET = %+v, want queued room 1 of class 3B", got)
	}
	t.Run("the same Key is the same snapshot", func(t *testing.T) {
		var again api.EnqueuedSnapshot
		s.Send("POST", "/v1/snapshots", `{"SdkAppId":7,"RoomId":1,"Key":"lesson-7","Label":{"Class":"3B"}}`).Want(200, &again)
		if again.ID != made.ID || again.Created {
			t.Errorf("POST with the same Key = %+v, want %s, not created", again, made.ID)
		}
		s.Send("POST", "/v1/snapshots", `{"SdkAppId":7,"RoomId":1,"Key":"lesson-7"}`).Problem(409, "exists")
	})
	t.Run("without a Key each request creates a snapshot", func(t *testing.T) {
		var one, two api.EnqueuedSnapshot
		s.Send("POST", "/v1/snapshots", `{"SdkAppId":7,"RoomId":1}`).Want(202, &one)
		s.Send("POST", "/v1/snapshots", `{"SdkAppId":7,"RoomId":1}`).Want(202, &two)
		if one.ID == two.ID || !one.Created || !two.Created {
			t.Errorf("POST = %+v, then %+v, want two snapshots", one, two)
		}
	})
	t.Run("invalid requests", func(t *testing.T) {
		for body, want := range map[string]string{
			`{"SdkAppId":7}`:                                 `"field":"RoomId","reason":"is missing"`,
			`{"SdkAppId":7,"RoomId":"1"}`:                    `"field":"body.RoomId"`,
			`{"SdkAppId":7,"RoomId":-1}`:                     `"field":"body.RoomId"`,
			`{"SdkAppId":7,"RoomId":1,"a":1}`:                `"field":"body.a"`,
			`{"SdkAppId":7,"RoomId":1,"SnapshotMode":"All"}`: `"field":"SnapshotMode"`,
			`{"SdkAppId":7,"RoomId":1,"Key":"\u0007"}`:       `"field":"Key"`,
		} {
			r := s.Send("POST", "/v1/snapshots", body)
			r.Problem(422, "invalid")
			if !strings.Contains(r.Body, want) {
				t.Errorf("%s: the problem does not contain %s: %s", body, want, r.Body)
			}
		}
		s.Send("POST", "/v1/snapshots", `{`).Problem(400, "invalid")
		s.Send("POST", "/v1/snapshots", `{}`, "Content-Type", "text/csv").Problem(415, "media-type")
		s.Send("POST", "/v1/snapshots", `{"Label":{"a":"`+strings.Repeat("a", 2<<20)+`"}}`).Problem(413, "too-large")
	})
	for _, id := range []string{"none", "b.1", "s-none", "%2e%2e", "a%2fb", strings.Repeat("a", 80)} {
		s.Send("GET", "/v1/snapshots/"+id, "").Problem(404, "not-found")
		s.Send("POST", "/v1/snapshots/"+id+"/cancel", "").Problem(404, "not-found")
		s.Send("POST", "/v1/snapshots/"+id+"/retry", "").Problem(404, "not-found")
	}
}

func TestOperations(t *testing.T) {
	s := webtest.NewService(t)
	s.Add("b", 20)
	s.Outcome("b.1", webtest.Broken)
	s.Outcome("b.2", ledger.Outcome{State: ledger.Accepted, TaskID: "t-1"})
	s.Outcome("s-single", webtest.Broken)
	var b api.Batch
	s.Send("POST", "/v1/batches/b/pause", "").Want(200, &b)
	if b.State != "paused" {
		t.Errorf("after the pause the batch is %+v", b)
	}
	b = api.Batch{}
	s.Send("POST", "/v1/batches/b/resume", "").Want(200, &b)
	if b.State != "running" {
		t.Errorf("after the resume the batch is %+v", b)
	}

	var failures struct {
		Failures []results.Failure
		Complete bool
	}
	s.Send("GET", "/v1/failures", "").Want(200, &failures)
	if len(failures.Failures) != 1 || failures.Failures[0].Count != 2 ||
		failures.Failures[0].Code != webtest.Broken.Code ||
		!failures.Complete {
		t.Errorf("failures are %+v, want one code with 2 snapshots", failures)
	}
	s.Send("GET", "/v1/failures?batch=b", "").Want(200, &failures)
	if len(failures.Failures) != 1 || failures.Failures[0].Count != 1 {
		t.Errorf("failures of the batch are %+v, want one snapshot", failures)
	}
	s.Send("GET", "/v1/failures?batch=none", "").Problem(404, "not-found")

	var retried struct {
		Retried  int
		Complete bool
		Batch    api.Batch
	}
	other := s.Send("POST", "/v1/batches/b/retry?code=Other", "").Problem(409, "state")
	want := "nothing to retry: no snapshot that failed has the code Other; they have " + webtest.Broken.Code + " (1)"
	if other.Detail != want {
		t.Errorf("retry of another code: %+v, want %q", other, want)
	}
	s.Send("POST", "/v1/batches/b/retry?code=FailedOperation", "").Want(200, &retried)
	if retried.Retried != 1 || !retried.Complete || retried.Batch.Failed != 0 {
		t.Errorf("retry = %+v, want one snapshot and no failure left", retried)
	}
	s.Send("POST", "/v1/batches/b/retry", "").Problem(409, "state")
	var one results.Result
	s.Send("POST", "/v1/snapshots/s-single/retry", "").Want(202, &one)
	if one.State != ledger.Queued {
		t.Errorf("retried snapshot is %+v, want queued", one)
	}
	s.Send("POST", "/v1/snapshots/s-single/retry", "").Problem(409, "state")
	s.Send("POST", "/v1/snapshots/s-single/cancel", "").Want(200, &one)
	if one.State != ledger.Canceled {
		t.Errorf("canceled snapshot is %+v, want canceled", one)
	}
	s.Send("POST", "/v1/snapshots/s-single/cancel", "").Want(200, nil)
	s.Send("POST", "/v1/snapshots/b.2/cancel", "").Problem(409, "state")
	s.Send("POST", "/v1/snapshots/b.3/cancel", "").Want(200, &one)
	if one.State != ledger.Canceled || one.ID != "b.3" {
		t.Errorf("canceled snapshot is %+v, want b.3, canceled", one)
	}

	var canceled struct {
		Canceled int `json:"canceled_now"`
		Batch    api.Batch
	}
	s.Send("POST", "/v1/batches/b/cancel", "").Want(200, &canceled)
	if canceled.Canceled < 17 || canceled.Batch.State != "canceled" || canceled.Batch.Accepted != 1 {
		t.Errorf("cancel = %+v, want 17 or more canceled and 1 accepted", canceled)
	}
	s.Send("POST", "/v1/batches/b/cancel", "").Want(200, nil)
	s.Send("POST", "/v1/batches/b/pause", "").Problem(409, "state")
	for _, verb := range []string{"cancel", "pause", "resume", "retry"} {
		s.Send("POST", "/v1/batches/none/"+verb, "").Problem(404, "not-found")
	}
	if log := s.Log.String(); !strings.Contains(log,
		`"by":"the-operate","method":"POST","path":"/v1/batches/b/cancel","status":200`) {
		t.Errorf("the log has no entry of the cancel by the-operate:\n%s", log)
	}
}
