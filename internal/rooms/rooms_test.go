package rooms_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/internal/rooms"
)

// read returns a line for each row of the file: the room as JSON with its line number, or the error.
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

// readTest is a file and the lines that read returns for it.
type readTest struct {
	name string
	file string
	want []string
}

// runTests reads each file, and short files also byte by byte.
func runTests(t *testing.T, o rooms.Options, tests []readTest) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, read(strings.NewReader(tt.file), o)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if len(tt.file) < 4096 {
				if diff := cmp.Diff(tt.want, read(iotest.OneByteReader(strings.NewReader(tt.file)), o)); diff != "" {
					t.Errorf("byte by byte (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// room returns the line of read for a room of SdkAppId 1.
func room(line, id int) string { return fmt.Sprintf(`%d {"SdkAppId":1,"RoomId":%d}`, line, id) }

func TestOptions(t *testing.T) {
	t.Run("an explicit format is not detected", func(t *testing.T) {
		runTests(t, rooms.Options{Format: rooms.JSONLines}, []readTest{
			{"CSV", "SdkAppId,RoomId\n",
				[]string{"line 1, column 1: the line is not one whole JSON object: invalid character 'S' looking for " +
					"beginning of value"}},
			{"an array", "[1]\n", []string{"line 1, column 2: the line is 1, it must be a JSON object"}},
		})
		runTests(t, rooms.Options{Format: rooms.CSV}, []readTest{
			{"JSON", `{"RoomId":1}`,
				[]string{`line 1, column 1: the field has a quote in the middle: put the whole field in quotes and ` +
					`double those inside`}},
		})
	})
	runTests(t, rooms.Options{MaxRows: 2}, []readTest{
		{"MaxRows rows", "SdkAppId,RoomId\n1,2\n1,x\n\n",
			[]string{room(2, 2), `line 3, column 2: RoomId is "x", it must be a whole number`}},
		{"MaxRows + 1 rows", "SdkAppId,RoomId\n1,2\n1,3\n1,4\n1,5\n",
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
			t.Fatalf("after %.40q: got %v, want a FileError with the line and the cause", head, last)
		}
		if want := fmt.Sprintf("cannot read line %d: disk on fire", file.Line); last.Error() != want {
			t.Errorf("after %.40q: got %v, want %s", head, last, want)
		}
		if want := min(strings.Count(head, "\n"), 1); rows > want {
			t.Errorf("after %.40q: got %d rows, want at most %d", head, rows, want)
		}
	}
}

// The iterator stops without a panic when its caller does.
func TestBreak(t *testing.T) {
	for _, file := range []string{"SdkAppId,RoomId\n1,2\n1,3\n", "SdkAppId,RoomId\nx,2\n1,3\n", ""} {
		for range rooms.Read(strings.NewReader(file), rooms.Options{}) {
			break
		}
	}
}

// readWithNotes returns the result of read, followed by the notes.
func readWithNotes(r io.Reader, o rooms.Options) []string {
	var notes []string
	o.Notes = func(n rooms.Note) { notes = append(notes, "note: "+n.String()) }
	return append(read(r, o), notes...)
}

// checkLines compares the results of read.
func checkLines(t *testing.T, want, got []string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
