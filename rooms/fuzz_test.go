package rooms_test

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/rooms"
	"tiwsnap/tasks"
)

// lines takes a file apart at LF, CRLF and CR.
func lines(file string) []string {
	return strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(file), "\n")
}

// readAll returns the good rows, having checked what holds for every file.
func readAll(t *testing.T, file string, defaults tasks.Room) []rooms.Row {
	var good []rooms.Row
	seen := make(map[[2]uint64]bool)
	last, ended := 0, false
	inFile := func(line int) bool { return line > last && line <= len(lines(file)) }
	for row, err := range rooms.Read(strings.NewReader(file), rooms.Options{Defaults: defaults}) {
		if ended {
			t.Fatalf("%v, %v after the end", row, err)
		}
		var rowErr *rooms.RowError
		var fileErr *rooms.FileError
		switch {
		case err == nil:
			room := row.Room.Over(defaults)
			if err := room.Validate(); err != nil {
				t.Errorf("line %d: %v", row.Line, err)
			}
			if id := [2]uint64{room.SdkAppId, room.RoomId}; seen[id] {
				t.Errorf("line %d: room %v came before", row.Line, id)
			} else {
				seen[id] = true
			}
			good = append(good, row)
		case errors.As(err, &rowErr):
			if len(rowErr.Faults) == 0 || rowErr.Line != row.Line {
				t.Errorf("row %v with error %#v", row, rowErr)
			}
			for _, f := range rowErr.Faults {
				if f.Column < 0 || f.Column > len(file) || f.Reason == "" {
					t.Errorf("fault %#v", f)
				}
			}
		case errors.As(err, &fileErr):
			if ended = true; fileErr.Line != 0 && !inFile(fileErr.Line) && fileErr.Line != last {
				t.Errorf("line %d after line %d: %v", fileErr.Line, last, err)
			}
			continue
		default:
			t.Fatalf("error %#v", err)
		}
		if !inFile(row.Line) {
			t.Errorf("line %d after line %d of %d", row.Line, last, len(lines(file)))
		}
		last = row.Line
	}
	return good
}

// FuzzFile feeds anything at all.
func FuzzFile(f *testing.F) {
	for _, file := range []string{
		"", "\n", "\ufeff", "SdkAppId,RoomId\n1,2\n", "SdkAppId;RoomId;COS.Uin\r\n1;2;3\r\n", "RoomId\tLabel.\t\r", "\xff\xfe", "[", "{", "{}\n{\"RoomId\":2}",
		"RoomId,SdkAppId,SnapshotMode,Whiteboard.Width,Whiteboard.Height,Whiteboard.InitParams,COS.Uin,COS.Region,COS.Bucket,COS.TargetDir,COS.Domain,Label.A\n1,2,AllMarks,3,4,{},5,r,b,t,d,a\n",
	} {
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, file string) {
		readAll(t, file, tasks.Room{})
		readAll(t, file, tasks.Room{SdkAppId: 1, COS: &tasks.COS{Bucket: "b"}, Label: map[string]string{"A": "x"}})
	})
}

// FuzzCSV compares with encoding/csv, also after faults.
func FuzzCSV(f *testing.F) {
	for i, rows := range []string{
		"2,a\n3,b\n", "2,\"a\"\"b\n,c\"\n\n3,\"\"\n", " 2 , a \n\"3\",x", "2,a\"b\n3,\"a\"b\n4,c\n", "2,\"a\nb\"c\n3,\n", "2,\"a\n3,\n", "2;\"a;b\"\n2;c\n",
		"3\t\n", ",\n \n2,\n2\n2,,\n", "0,\n-1,\n4294967296,\n1e3,\n", "\"2\nx\",\n\"\n3\",a\n", "2,\"\"\"\"\n3,\"\"a\n4,\"\"\"\n",
	} {
		f.Add(uint8(i), rows)
	}
	f.Fuzz(func(t *testing.T, d uint8, rows string) {
		delim := rune(",;\t"[d%3])
		file := "RoomId" + string(delim) + "Label.A\n" + rows
		got := readAll(t, file, tasks.Room{SdkAppId: 1})
		if strings.Contains(rows, "\r") || !utf8.ValidString(rows) || len(rows) > 60_000 {
			return // encoding/csv knows neither a lone CR nor bounds
		}
		var want []rooms.Row
		seen := make(map[uint64]bool)
		std := csv.NewReader(strings.NewReader(file))
		std.Comma, std.FieldsPerRecord = delim, -1
		for {
			fields, err := std.Read()
			if err == io.EOF {
				break
			}
			if err != nil || len(fields) != 2 {
				continue
			}
			id, err := strconv.ParseUint(strings.TrimSpace(fields[0]), 10, 64)
			if err != nil || id < 1 || len(fields[1]) > tasks.MaxLabel || strings.Contains(fields[1], "\x00") || seen[id] {
				continue
			}
			seen[id] = true
			line, _ := std.FieldPos(0)
			row := rooms.Row{Line: line, Room: tasks.Room{RoomId: id}}
			if fields[1] != "" {
				row.Room.Label = map[string]string{"A": fields[1]}
			}
			want = append(want, row)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

// FuzzJSON compares what was taken for good with encoding/json.
func FuzzJSON(f *testing.F) {
	for _, file := range []string{
		`{"SdkAppId":1,"RoomId":2}` + "\r\n\n" + `{"SdkAppId":1,"RoomId":3,"Label":{"a":"b\n\u00e9\\"}}`,
		`{"SdkAppId":1,"RoomId":2,"Whiteboard":{"Width":0,"InitParams":"{\"a\":[1,{\"b\":\"}\"}]}"},"COS":{"Uin":1,"Region":"r","Bucket":"b"}}`,
		`{"SdkAppId":1,"RoomId":2,"Label.a":"b","COS":null,"Label":{},"Whiteboard.Height":7}`,
		`{ "SdkAppId" : 1 , "Room\u0049d" : 2 } ` + "\r" + `{"RoomId":"2","x":[{"]":1}],"RoomId":2e1}`,
		`{"SdkAppId":1,"RoomId":2,"Label":{"\ud800":"\ud83d\ude00"}}` + "\n" + `{"a":1}{}` + "\n" + `[1]` + "\n" + `5`,
	} {
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, file string) {
		file = `{"SdkAppId":1,"RoomId":1}` + "\n" + file
		text := lines(file)
		for _, row := range readAll(t, file, tasks.Room{}) {
			line := text[row.Line-1]
			if strings.Contains(line, ".") || strings.Contains(line, "null") || strings.Contains(line, `"COS"`) {
				continue // dotted names; and where the two differ about what is left out
			}
			var want tasks.Room
			dec := json.NewDecoder(strings.NewReader(line))
			dec.DisallowUnknownFields()
			if err := dec.Decode(&want); err != nil {
				t.Fatalf("line %d: %v", row.Line, err)
			}
			if len(want.Label) == 0 {
				want.Label = nil
			}
			if w := want.Whiteboard; w != nil {
				if w.InitParams = strings.TrimSpace(w.InitParams); *w == (tasks.Whiteboard{}) {
					want.Whiteboard = nil
				}
			}
			want.SnapshotMode = strings.TrimSpace(want.SnapshotMode)
			if row.Room.Whiteboard != nil && *row.Room.Whiteboard == (tasks.Whiteboard{}) {
				row.Room.Whiteboard = nil
			}
			if diff := cmp.Diff(want, row.Room); diff != "" {
				t.Errorf("line %d: %s", row.Line, diff)
			}
		}
	})
}
