package rooms_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"

	"tiwsnap/internal/rooms"
	"tiwsnap/tasks"
)

// The lists in testdata/lists are like those of spreadsheets, portals and scripts.
func TestLists(t *testing.T) {
	app := func(line int, rest string) string { return fmt.Sprintf(`%d {"SdkAppId":1400123480,%s}`, line, rest) }
	for file, want := range map[string][]string{
		"01-utf16le-bom-tab.csv": {
			app(2, `"RoomId":900010,"Label":{"Class":"三年级一班"}`), app(3,
				`"RoomId":900011,"Label":{"Class":"Maths 3b"}`),
			"note: the text is read as utf-16le, as its byte order mark says"},
		"04-gb18030-label.csv": {
			app(2, `"RoomId":900040,"Label":{"Class":"三年级一班"}`), app(3,
				`"RoomId":900041,"Label":{"Class":"Maths 3b"}`),
			"note: the text is read as gb18030, as its bytes suggest; if labels look wrong, name it (--encoding, or " +
				"encoding= in a URL)"},
		"07-sep-line.csv": {
			app(3, `"RoomId":900070,"Label":{"Class":"三年级一班"}`), app(4,
				`"RoomId":900071,"Label":{"Class":"Maths 3b"}`)},
		"09-trailing-empty-columns.csv": {app(2, `"RoomId":900090`), app(3, `"RoomId":900091`)},
		"11-scientific.csv": {
			`line 2, column 1: SdkAppId is "1.40012E+09", spreadsheets shorten long numbers: format the ` +
				`column as text and save again`,
			`line 3, column 2: RoomId is "9.00E+05", spreadsheets shorten long numbers: format the column ` +
				`as text and save again`},
		"13-bom-in-middle.csv": {
			app(2, `"RoomId":900130`), app(4, `"RoomId":900131`), "note: line 3: the header again, skipped"},
		"16-leading-apostrophe.csv": {app(2, `"RoomId":900160`), app(3, `"RoomId":900161`)},
		"21-fullwidth-digits.csv":   {app(2, `"RoomId":900210`), app(3, `"RoomId":900211`)},
		"23-decimal.csv": {app(2, `"RoomId":900230`), app(3, `"RoomId":900231`),
			`line 4, column 2: RoomId is "900232.5", it must be a whole number`},
		"27-header-spaces-case.csv": {app(2, `"RoomId":900270,"Label":{"Class":"a"}`)},
		"33-empty.csv":              {"the file is empty"},
		"36-html-renamed.csv": {`the file is an HTML page: download the list itself, or open the page in a ` +
			`spreadsheet and save it as .xlsx or as "CSV UTF-8"`},
		"38-big-roomids.csv": {
			app(2, `"RoomId":4294967295`), app(3, `"RoomId":4294967296`), app(4, `"RoomId":9007199254740993`), app(5,
				`"RoomId":18446744073709551615`),
			`line 6, column 2: RoomId is "18446744073709551616", that is too large`,
			"line 7, column 2: RoomId is 0, it must be 1 or more",
			`line 8, column 2: RoomId is "room-7", it must be a whole number`,
			"note: line 3: the first of 3 rooms with a RoomId above 4294967295, which other whiteboard APIs do not take"},
		"40-init-params.jsonl": {
			app(1,
				`"RoomId":900370,"Whiteboard":{"InitParams":"{\"ratio\":\"16:9\",\"t\":\"he said \\\"hi\\\" 😀 `+
					`\u003cb\u003e\u0026\"}"}`),
			app(2, `"RoomId":900371,"Whiteboard":{"InitParams":"{\"ratio\":\"4:3\",\"t\":\"😀\"}"}`),
			app(3, `"RoomId":900372,"Whiteboard":{"InitParams":"{}"}`),
			"line 4, column 67: Whiteboard.InitParams is not a JSON document"},
		"42-jsonl-pretty-array.json": {app(2, `"RoomId":900390`), app(3, `"RoomId":900391`)},
	} {
		t.Run(file, func(t *testing.T) {
			b, err := os.ReadFile(filepath.Join("testdata", "lists", file))
			if err != nil {
				t.Fatal(err)
			}
			checkLines(t, want, readWithNotes(bytes.NewReader(b), rooms.Options{}))
			checkLines(t, want, readWithNotes(iotest.OneByteReader(bytes.NewReader(b)), rooms.Options{}))
		})
	}
	files, err := os.ReadDir(filepath.Join("testdata", "lists"))
	if err != nil || len(files) != 15 {
		t.Errorf("testdata/lists has %d files, %v, want 15", len(files), err)
	}
}

// Each list in docs/lists.md has the result that follows it there.
func TestDocsExamples(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "lists.md"))
	if err != nil {
		t.Fatal(err)
	}
	pairs := regexp.MustCompile("(?s)```(?:csv|json)\n(.*?)```\n+```text\n(.*?)```").FindAllSubmatch(text, -1)
	if n := bytes.Count(text, []byte("```text\n")); n != len(pairs) || n < 4 {
		t.Errorf("docs/lists.md has %d results, %d of them after a list, want at least 4 and all", n, len(pairs))
	}
	for _, p := range pairs {
		want := strings.Split(strings.TrimSuffix(string(p[2]), "\n"), "\n")
		checkLines(t, want, readWithNotes(bytes.NewReader(p[1]), rooms.Options{Defaults: tasks.Room{SdkAppId: 1400123480}}))
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
					t.Errorf("line %d has no label Class", row.Line)
				}
				n++
			}
			if n != want {
				t.Errorf("the file has %d rooms, want %d", n, want)
			}
		})
	}
}
