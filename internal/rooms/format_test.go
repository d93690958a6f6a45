package rooms_test

import (
	"strings"
	"testing"

	"tiwsnap/internal/rooms"
)

func TestUnsupportedFormats(t *testing.T) {
	for file, want := range map[string]string{
		"<!DOCTYPE html>\n<html>":                  "an HTML page",
		"\n \ufeff<table><tr><td>RoomId":           "an HTML page",
		"<?xml version=\"1.0\"?>\n<Workbook>":      "an XML document",
		"<?xml version=\"1.0\"?><html>":            "an HTML page",
		"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\x00\x00": "an old workbook (.xls) or one with a password",
		"\x1f\x8b\x08\x00":                         "compressed with gzip",
		"%PDF-1.7\n":                               "a PDF document",
		"{\\rtf1\\ansi":                            "an RTF document",
		"PK\x05\x06" + strings.Repeat("\x00", 18):  "an empty zip archive",
		"\x89PNG\r\n\x1a\n\x00\x00":                "is not text",
	} {
		if got := readWithNotes(strings.NewReader(file), rooms.Options{}); len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("Read(%q) = %q, want an error with %q", file, got, want)
		}
	}
	checkLines(t, []string{`the file is no workbook (.xlsx), so it has no sheet "Monday"`},
		readWithNotes(strings.NewReader("RoomId\n1\n"), rooms.Options{Sheet: "Monday"}))
}

// The JSON body of an API request for a batch is not a class list. It is detected at any length and in any layout, and
// the error says what to do.
func TestRequestBody(t *testing.T) {
	room := `{"SdkAppId":1400123480,"RoomId":7}`
	for name, text := range map[string]string{
		"on one line":       `{"rooms":[` + room + `]}`,
		"indented":          "{\n  \"rooms\": [\n    " + room + "\n  ]\n}\n",
		"with a name first": `{"name":"monday","defaults":{"SnapshotMode":"AllMarks"},"rooms":[` + room + `]}`,
		"long":              `{"rooms":[` + strings.Repeat(room+",", 10_000) + room + `]}`,
	} {
		var last error
		n := 0
		for _, err := range rooms.Read(strings.NewReader(text), rooms.Options{}) {
			n, last = n+1, err
		}
		if n != 1 || last == nil ||
			!strings.Contains(last.Error(), "give the array of its rooms alone, as jq .rooms prints it") {
			t.Errorf("%s: got %d results, the last one %v, want only the error that names jq .rooms", name, n, last)
		}
	}
	for _, text := range []string{room + "\n", "{\"RoomId\":7,\n\"Label\":{\"rooms\":\"[1]\"}}",
		`{"Label.rooms":"x","RoomId":7}`} {
		for _, err := range rooms.Read(strings.NewReader(text), rooms.Options{}) {
			if err != nil && strings.Contains(err.Error(), "POST /v1/batches") {
				t.Errorf("the list %s is taken for a request body: %v", text, err)
			}
		}
	}
}
