package rooms_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/internal/rooms"
	"tiwsnap/tasks"
)

// read returns a line for each row of the file: the room as JSON, or the error.
func read(r io.Reader, o rooms.Options) []string {
	var got []string
	for row, err := range rooms.Read(r, o) {
		if err != nil {
			got = append(got, err.Error())
			continue
		}
		b, err := json.Marshal(row.Room)
		if err != nil {
			panic(err)
		}
		got = append(got, fmt.Sprintf("%d %s", row.Line, b))
	}
	return got
}

type test struct {
	name string
	file string
	want []string
}

func run(t *testing.T, o rooms.Options, tests []test) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, read(strings.NewReader(tt.file), o)); diff != "" {
				t.Error(diff)
			}
			if len(tt.file) < 4096 {
				if diff := cmp.Diff(tt.want, read(iotest.OneByteReader(strings.NewReader(tt.file)), o)); diff != "" {
					t.Errorf("byte by byte: %s", diff)
				}
			}
		})
	}
}

func room(line, id int) string { return fmt.Sprintf(`%d {"SdkAppId":1,"RoomId":%d}`, line, id) }

func TestDefaults(t *testing.T) {
	defaults := tasks.Room{SdkAppId: 9, COS: &tasks.COS{Uin: 1, Region: "ap-guangzhou"},
		Label: map[string]string{"Term": "autumn"}}
	run(t, rooms.Options{Defaults: defaults}, []test{
		{"rows do not carry them and are checked with them", "RoomId,COS.Bucket,COS.TargetDir,Label.A\n2,b-1,d,\n3,,d,x\n",
			[]string{`2 {"RoomId":2,"COS":{"Bucket":"b-1","TargetDir":"d"}}`,
				"line 3, column 2: COS.Bucket is missing (a COS block needs Uin, Region and Bucket)"}},
		{"a room is a duplicate by the default's SdkAppId", "SdkAppId,RoomId,COS.Bucket\n,2,b\n9,2,b\n8,2,b\n",
			[]string{`2 {"RoomId":2,"COS":{"Bucket":"b"}}`,
				"line 3, column 2: RoomId 2 of SdkAppId 9 is already on line 2",
				`4 {"SdkAppId":8,"RoomId":2,"COS":{"Bucket":"b"}}`}},
		{"an SdkAppId of 0 does not mean the default's", "SdkAppId,RoomId,COS.Bucket\n0,2,b\n",
			[]string{"line 2, column 1: SdkAppId is 0, it must be 1 or more"}},
	})
	wide := rooms.Options{Defaults: tasks.Room{SdkAppId: 9, Whiteboard: &tasks.Whiteboard{Width: new(uint64(2561))}}}
	run(t, wide, []test{
		{"a default that is wrong is found, unless the row has its own", "RoomId,Whiteboard.Width\n2,\n3,5\n",
			[]string{"line 2, column 2: Whiteboard.Width is 2561, it must be from 0 to 2560",
				`3 {"RoomId":3,"Whiteboard":{"Width":5}}`}},
	})
}

func TestOptions(t *testing.T) {
	t.Run("a format that is given is not guessed", func(t *testing.T) {
		run(t, rooms.Options{Format: rooms.JSONLines}, []test{
			{"CSV", "SdkAppId,RoomId\n",
				[]string{"line 1, column 1: the line is not one whole JSON object: invalid character 'S' looking for " +
					"beginning of value"}},
			{"an array", "[1]\n", []string{"line 1, column 2: the line is 1, it must be a JSON object"}},
		})
		run(t, rooms.Options{Format: rooms.CSV}, []test{
			{"JSON", `{"RoomId":1}`,
				[]string{`line 1, column 1: the field has a quote in the middle: put the whole field in quotes and ` +
					`double those inside`}},
		})
	})
	run(t, rooms.Options{MaxRows: 2}, []test{
		{"as many rows as allowed", "SdkAppId,RoomId\n1,2\n1,x\n\n",
			[]string{room(2, 2), `line 3, column 2: RoomId is "x", it must be a whole number`}},
		{"one row too many", "SdkAppId,RoomId\n1,2\n1,3\n1,4\n1,5\n",
			[]string{room(2, 2), room(3, 3), "line 4: the file has more than 2 rows"}},
	})
}

// A read error must not turn a partial row into a row.
func TestReadError(t *testing.T) {
	broken := errors.New("disk on fire")
	for _, head := range []string{"", "SdkAppId,Ro", "SdkAppId,RoomId\n1,2\n1,34", "SdkAppId,RoomId\n1,2\n1,\"34",
		"{\"SdkAppId\":1,\"RoomId\":2}\n{", "SdkAppId,RoomId\n1," + strings.Repeat("3", 200<<10),
		"{}\n{\"" + strings.Repeat("3", 200<<10), "SdkAppId,RoomId\nx\"" + strings.Repeat("3", 200<<10)} {
		var rows int
		var last error
		for _, err := range rooms.Read(io.MultiReader(strings.NewReader(head), iotest.ErrReader(broken)), rooms.Options{}) {
			if last = err; err == nil {
				rows++
			}
		}
		var file *rooms.FileError
		if !errors.As(last, &file) || !errors.Is(last, broken) || file.Line != strings.Count(head, "\n")+1 {
			t.Fatalf("after %.40q: %v", head, last)
		}
		if want := fmt.Sprintf("cannot read line %d: disk on fire", file.Line); last.Error() != want {
			t.Errorf("after %.40q: %v, want %s", head, last, want)
		}
		if want := min(strings.Count(head, "\n"), 1); rows > want {
			t.Errorf("after %.40q: %d rows", head, rows)
		}
	}
}

func TestStopsWhenTheCallerDoes(t *testing.T) {
	for _, file := range []string{"SdkAppId,RoomId\n1,2\n1,3\n", "SdkAppId,RoomId\nx,2\n1,3\n", ""} {
		for range rooms.Read(strings.NewReader(file), rooms.Options{}) {
			break
		}
	}
}

func TestExamples(t *testing.T) {
	for file, want := range map[string]int{"class.csv": 240, "class.jsonl": 6} {
		t.Run(file, func(t *testing.T) {
			f, err := os.Open(filepath.Join("..", "..", "examples", file))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			n := 0
			for row, err := range rooms.Read(f, rooms.Options{}) {
				if err != nil {
					t.Error(err)
				}
				if row.Room.Label["Class"] == "" {
					t.Errorf("line %d has no class", row.Line)
				}
				n++
			}
			if n != want {
				t.Errorf("%d rooms, want %d", n, want)
			}
		})
	}
}
