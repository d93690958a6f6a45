package api_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/xuri/excelize/v2"

	"tiwsnap/web/api"
	"tiwsnap/web/webtest"
)

// Class lists from real programs are accepted, and the response notes what was recognized.
func TestLists(t *testing.T) {
	s := webtest.NewService(t)
	const notUTF8 = "the text is read as gb18030, as its bytes suggest; if labels look wrong, name it (--encoding, " +
		"or encoding= in a URL)"
	for file, want := range map[string]api.Enqueued{
		"01-utf16le-bom-tab.csv": {Rooms: 2,
			Notes: []api.Note{{Text: "the text is read as utf-16le, as its byte order mark says"}}},
		"04-gb18030-label.csv":          {Rooms: 2, Notes: []api.Note{{Text: notUTF8}}},
		"07-sep-line.csv":               {Rooms: 2},
		"09-trailing-empty-columns.csv": {Rooms: 2},
		"11-scientific.csv":             {},
		"13-bom-in-middle.csv":          {Rooms: 2, Notes: []api.Note{{Line: 3, Text: "the header again, skipped"}}},
		"16-leading-apostrophe.csv":     {Rooms: 2},
		"21-fullwidth-digits.csv":       {Rooms: 2},
		"23-decimal.csv":                {Rooms: 2, BadRows: 1},
		"27-header-spaces-case.csv":     {Rooms: 1},
		"33-empty.csv":                  {},
		"36-html-renamed.csv":           {},
		"38-big-roomids.csv": {Rooms: 4, BadRows: 3, Notes: []api.Note{{Line: 3,
			Text: "the first of 3 rooms with a RoomId above 4294967295, which other whiteboard APIs do not take"}}},
		"40-init-params.jsonl":       {Rooms: 3, BadRows: 1},
		"42-jsonl-pretty-array.json": {Rooms: 2},
	} {
		t.Run(file, func(t *testing.T) {
			s.T = t
			b, err := os.ReadFile(filepath.Join("..", "..", "internal", "rooms", "testdata", "lists", file))
			if err != nil {
				t.Fatal(err)
			}
			media := map[string]string{".csv": "text/csv", ".jsonl": "application/x-ndjson",
				".json": "application/json"}[filepath.Ext(file)]
			name := strings.TrimSuffix(file, filepath.Ext(file))
			for _, media := range []string{media, "application/octet-stream"} {
				r := s.Send("POST", "/v1/batches", string(b), "Content-Type", media)
				if want.Rooms == 0 {
					r.Problem(422, "invalid")
					continue
				}
				var got api.Enqueued
				r.Want(202, &got)
				if diff := cmp.Diff(append([]api.Note{}, want.Notes...),
					got.Notes); diff != "" || got.Rooms != want.Rooms || got.BadRows != want.BadRows {
					t.Errorf("%s: got %+v, want %+v; notes (-want +got):\n%s", name, got, want, diff)
				}
			}
		})
	}
	s.T = t

	t.Run("an explicit encoding", func(t *testing.T) {
		s.T = t
		const big5 = "SdkAppId,RoomId,Label.Class\n1,2,\xa4\x54\xa6\x7e\n"
		s.Send("POST", "/v1/batches", big5, "Content-Type", "text/csv").Problem(422, "invalid")
		for path, media := range map[string]string{"?encoding=big5&name=a": "text/csv; charset=utf-8",
			"?name=b": "text/csv; charset=Big5"} {
			s.Send("POST", "/v1/batches"+path, big5, "Content-Type", media).Want(202, nil)
			if r := s.Send("GET", "/v1/batches/"+path[len(path)-1:]+"/snapshots?format=csv", ""); !strings.Contains(r.Body,
				"三年") {
				t.Errorf("%s: the results are %s, want the label in Chinese", path, r.Body)
			}
		}
	})
	t.Run("JSON with a byte order mark", func(t *testing.T) {
		s.T = t
		var got api.Enqueued
		s.Send("POST", "/v1/batches", "\ufeff[{\"SdkAppId\":1,\"RoomId\":2}]", "Content-Type", "application/json").Want(202,
			&got)
		s.Send("POST", "/v1/batches", "\xff\xfe[\x00{\x00\"\x00R\x00o\x00o\x00m\x00I\x00d\x00\"\x00:\x003\x00}\x00]\x00",
			"Content-Type", "application/json").Problem(422, "invalid")
	})
	t.Run("a workbook", func(t *testing.T) {
		s.T = t
		const rows = 1000
		f := excelize.NewFile()
		defer f.Close()
		f.NewSheet("Monday")
		w, err := f.NewStreamWriter("Monday")
		if err != nil {
			t.Fatal(err)
		}
		w.SetRow("A1", []any{"SdkAppId", "RoomId", "Label.Class"})
		for i := range rows {
			cell, _ := excelize.CoordinatesToCellName(1, i+2)
			w.SetRow(cell, []any{1, i + 1, "三年级"})
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		var book bytes.Buffer
		if err := f.Write(&book); err != nil {
			t.Fatal(err)
		}
		const xlsx = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
		var got api.Enqueued
		s.Send("POST", "/v1/batches?sheet=monday", book.String(), "Content-Type", xlsx).Want(202, &got)
		if got.Rooms != rows || got.BadRows != 0 {
			t.Errorf("got %+v, want %d rooms", got, rows)
		}
		r := s.Send("POST", "/v1/batches", book.String(), "Content-Type", "text/csv")
		if r.Problem(422, "invalid"); !strings.Contains(r.Body, "the file is empty") {
			t.Errorf("first sheet: got %s, want that the file is empty", r.Body)
		}
	})
}
