package api_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/xuri/excelize/v2"

	"tiwsnap/results"
	"tiwsnap/tasks"
	"tiwsnap/web/api"
	"tiwsnap/web/webtest"
)

func TestResultsForExcel(t *testing.T) {
	s := webtest.NewService(t)
	s.Add("b", 4)
	s.Outcome("b.1", webtest.Broken)
	s.Finish("b.2", 2)
	t.Run("a workbook", func(t *testing.T) {
		for _, form := range [][]string{
			{"?format=xlsx&tz=Asia/Shanghai"},
			{"?tz=Asia/Shanghai", "Accept", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"},
		} {
			r := s.Send("GET", "/v1/batches/b/snapshots"+form[0], "", form[1:]...).Want(200, nil)
			if r.Header.Get("Content-Disposition") != `attachment; filename="b.xlsx"` ||
				r.Header.Get("Content-Type") != "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" {
				t.Errorf("workbook has the header %v", r.Header)
			}
			f, err := excelize.OpenReader(strings.NewReader(r.Body))
			if err != nil {
				t.Fatal(err)
			}
			lines, err := f.GetRows("Snapshots")
			if err != nil || len(lines) != 5 || lines[0][9] != "Sent (Asia/Shanghai)" ||
				lines[2][len(lines[2])-1] != "https://b.example/b.2/2.png" {
				t.Errorf("workbook: %v, rows %q", err, lines)
			}
			if _, err := time.Parse(time.DateTime, lines[1][9]); err != nil {
				t.Errorf("Sent is %q, want a time", lines[1][9])
			}
			f.Close()
		}
	})
	t.Run("CSV", func(t *testing.T) {
		r := s.Send("GET", "/v1/batches/b/snapshots?format=csv&excel=true&state=succeeded", "").Want(200, nil)
		want := "\ufeffSnapshot,SdkAppId,RoomId,State,Code,Message,TaskID,RequestId,Attempts,Sent (UTC),Ended " +
			"(UTC),Label.Sum,Total,Image1,Image2\nb.2,7,2,succeeded,,,t-b.2,"
		if !strings.HasPrefix(r.Body, want) || strings.Count(r.Body, "\n") != 2 {
			t.Errorf("CSV is %q, want one row after %q", r.Body, want)
		}
	})
	t.Run("invalid parameters", func(t *testing.T) {
		for query, want := range map[string]string{
			"format=xlsx&tz=Mars/Olympus": "tz must be a time zone", "format=csv&tz=UTC": "tz goes with",
			"excel=true":         "excel goes with CSV",
			"format=csv&limit=2": "limit goes with pages of JSON", "format=jsonl&cursor=2": "cursor goes with pages of JSON",
			"format=jsonl&excel=true": "excel goes with CSV", "format=xlsx&tz=Local": "tz must be",
		} {
			if p := s.Send("GET", "/v1/batches/b/snapshots?"+query, "").Problem(422,
				"invalid"); !strings.Contains(p.Detail, want) {
				t.Errorf("%s: detail is %q, want %q", query, p.Detail, want)
			}
		}
		s.Send("GET", "/v1/batches/none/snapshots?format=xlsx", "").Problem(404, "not-found")
	})
	if r := s.Send("HEAD", "/v1/batches/b/snapshots?format=xlsx", ""); r.Status != 200 ||
		r.Header.Get("Content-Disposition") == "" {
		t.Errorf("HEAD: status %d, header %v, want 200 with a file name", r.Status, r.Header)
	}
}

// A list of results can be uploaded again unchanged.
func TestResultListsCanBeUploaded(t *testing.T) {
	s := webtest.NewService(t)
	s.Send("POST", "/v1/batches?name=b",
		`{"SdkAppId":7,"RoomId":1,"Label":{"Sum":"=1+1"},"SnapshotMode":"AllMarks","Whiteboard":{"Width":640}}
{"SdkAppId":7,"RoomId":2,"COS":{"Uin":1,"Region":"ap-guangzhou","Bucket":"b-1"}}
{"SdkAppId":7,"RoomId":3,"Label":{"Class":"三年级"}}`, "Content-Type", "application/x-ndjson").Want(202, nil)
	s.Outcome("b.1", webtest.Broken)
	s.Finish("b.2", 2)
	rooms := func(id string) (all []tasks.Room) {
		var page api.SnapshotPage
		s.Send("GET", "/v1/batches/"+id+"/snapshots", "").Want(200, &page)
		for _, r := range page.Snapshots {
			all = append(all, r.Room)
		}
		return all
	}
	want := rooms("b")
	for name, media := range map[string]string{"csv": "text/csv", "csv&excel=true": "text/csv",
		"jsonl": "application/x-ndjson",
		"xlsx":  "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"} {
		list := s.Send("GET", "/v1/batches/b/snapshots?format="+name, "").Want(200, nil)
		var got api.Enqueued
		s.Send("POST", "/v1/batches", list.Body, "Content-Type", media).Want(202, &got)
		if len(got.Notes) != 1 || !strings.Contains(got.Notes[0].Text, "is a result list") || got.BadRows != 0 {
			t.Errorf("%s: upload = %+v, want one note and no bad rows", name, got)
		}
		if diff := cmp.Diff(want, rooms(got.ID)); diff != "" {
			t.Errorf("%s: rooms (-want +got):\n%s\nlist:\n%s", name, diff, list.Body)
		}
	}
	// So can the array of a page of results.
	page := s.Send("GET", "/v1/batches/b/snapshots", "").Want(200, &struct{ Snapshots []results.Result }{})
	list := strings.Replace(page.Body, `"snapshots"`, `"rooms"`, 1)
	var got api.Enqueued
	s.Send("POST", "/v1/batches", list, "Content-Type", "application/json").Want(202, &got)
	if got.Rooms != 3 {
		t.Errorf("upload of a result page = %+v, want 3 rooms", got)
	}
}
