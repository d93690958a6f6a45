package web_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/xuri/excelize/v2"

	"tiwsnap/ledger"
	"tiwsnap/results"
	"tiwsnap/tasks"
	"tiwsnap/web"
)

// finish gives a snapshot of a batch that many images.
func (s *service) finish(id string, images int) {
	s.Helper()
	s.outcome(id, ledger.Outcome{State: ledger.Accepted, TaskID: "t-" + id})
	r := ledger.Result{State: ledger.Succeeded}
	for n := range images {
		r.Images = append(r.Images, fmt.Sprintf("https://b.example/%s/%d.png", id, n+1))
	}
	if err := ledger.New(s.rdb, ledger.Options{}).Settle(s.Context(), id, "t-"+id, r); err != nil {
		s.Fatal(err)
	}
}

func TestResultsForExcel(t *testing.T) {
	s := newService(t)
	s.add("b", 4)
	s.outcome("b.1", broken)
	s.finish("b.2", 2)
	t.Run("a workbook", func(t *testing.T) {
		for _, form := range [][]string{
			{"?format=xlsx&tz=Asia/Shanghai"},
			{"?tz=Asia/Shanghai", "Accept", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"},
		} {
			r := s.send("GET", "/v1/batches/b/snapshots"+form[0], "", form[1:]...).want(200, nil)
			if r.header.Get("Content-Disposition") != `attachment; filename="b.xlsx"` ||
				r.header.Get("Content-Type") != "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" {
				t.Errorf("%v", r.header)
			}
			f, err := excelize.OpenReader(strings.NewReader(r.body))
			if err != nil {
				t.Fatal(err)
			}
			lines, err := f.GetRows("Snapshots")
			if err != nil || len(lines) != 5 || lines[0][9] != "Sent (Asia/Shanghai)" ||
				lines[2][len(lines[2])-1] != "https://b.example/b.2/2.png" {
				t.Errorf("%v, %q", err, lines)
			}
			if _, err := time.Parse(time.DateTime, lines[1][9]); err != nil {
				t.Errorf("%q is no time", lines[1][9])
			}
			f.Close()
		}
	})
	t.Run("CSV", func(t *testing.T) {
		r := s.send("GET", "/v1/batches/b/snapshots?format=csv&excel=true&state=succeeded", "").want(200, nil)
		want := "\ufeffSnapshot,SdkAppId,RoomId,State,Code,Message,TaskID,RequestId,Attempts,Sent (UTC),Ended " +
			"(UTC),Label.Sum,Total,Image1,Image2\nb.2,7,2,succeeded,,,t-b.2,"
		if !strings.HasPrefix(r.body, want) || strings.Count(r.body, "\n") != 2 {
			t.Errorf("%q", r.body)
		}
	})
	t.Run("what does not go is said", func(t *testing.T) {
		for query, says := range map[string]string{
			"format=xlsx&tz=Mars/Olympus": "tz must be a time zone", "format=csv&tz=UTC": "tz goes with",
			"excel=true":         "excel goes with CSV",
			"format=csv&limit=2": "limit goes with pages of JSON", "format=jsonl&cursor=2": "cursor goes with pages of JSON",
			"format=jsonl&excel=true": "excel goes with CSV", "format=xlsx&tz=Local": "tz must be",
		} {
			if p := s.send("GET", "/v1/batches/b/snapshots?"+query, "").problem(422,
				"invalid"); !strings.Contains(p.Detail, says) {
				t.Errorf("%s: %s", query, p.Detail)
			}
		}
		s.send("GET", "/v1/batches/none/snapshots?format=xlsx", "").problem(404, "not-found")
	})
	if r := s.send("HEAD", "/v1/batches/b/snapshots?format=xlsx", ""); r.status != 200 ||
		r.header.Get("Content-Disposition") == "" {
		t.Errorf("HEAD: %d %v", r.status, r.header)
	}
}

// What came out can be uploaded again as it is.
func TestResultListsCanBeUploaded(t *testing.T) {
	s := newService(t)
	s.send("POST", "/v1/batches?name=b",
		`{"SdkAppId":7,"RoomId":1,"Label":{"Sum":"=1+1"},"SnapshotMode":"AllMarks","Whiteboard":{"Width":640}}
{"SdkAppId":7,"RoomId":2,"COS":{"Uin":1,"Region":"ap-guangzhou","Bucket":"b-1"}}
{"SdkAppId":7,"RoomId":3,"Label":{"Class":"三年级"}}`, "Content-Type", "application/x-ndjson").want(202, nil)
	s.outcome("b.1", broken)
	s.finish("b.2", 2)
	rooms := func(id string) (all []tasks.Room) {
		var page web.SnapshotPage
		s.send("GET", "/v1/batches/"+id+"/snapshots", "").want(200, &page)
		for _, r := range page.Snapshots {
			all = append(all, r.Room)
		}
		return all
	}
	want := rooms("b")
	for name, media := range map[string]string{"csv": "text/csv", "csv&excel=true": "text/csv",
		"jsonl": "application/x-ndjson",
		"xlsx":  "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"} {
		list := s.send("GET", "/v1/batches/b/snapshots?format="+name, "").want(200, nil)
		var got web.Enqueued
		s.send("POST", "/v1/batches", list.body, "Content-Type", media).want(202, &got)
		if len(got.Notes) != 1 || !strings.Contains(got.Notes[0].Text, "is a result list") || got.BadRows != 0 {
			t.Errorf("%s: %+v", name, got)
		}
		if diff := cmp.Diff(want, rooms(got.ID)); diff != "" {
			t.Errorf("%s: %s\nof\n%s", name, diff, list.body)
		}
	}
	// A page of results, too, by its list.
	page := s.send("GET", "/v1/batches/b/snapshots", "").want(200, &struct{ Snapshots []results.Result }{})
	list := strings.Replace(page.body, `"snapshots"`, `"rooms"`, 1)
	var got web.Enqueued
	s.send("POST", "/v1/batches", list, "Content-Type", "application/json").want(202, &got)
	if got.Rooms != 3 {
		t.Errorf("%+v", got)
	}
}
