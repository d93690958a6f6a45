package rooms_test

import (
	"strings"
	"testing"

	"tiwsnap/internal/rooms"
)

// The JSON body of an API request for a batch is not a class list. It is detected at any length and in any layout, and
// the error says what to do.
func TestBodyOfARequestIsNoClassList(t *testing.T) {
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
			t.Errorf("%s: %d rows, %v", name, n, last)
		}
	}
	for _, text := range []string{room + "\n", "{\"RoomId\":7,\n\"Label\":{\"rooms\":\"[1]\"}}",
		`{"Label.rooms":"x","RoomId":7}`} {
		for _, err := range rooms.Read(strings.NewReader(text), rooms.Options{}) {
			if err != nil && strings.Contains(err.Error(), "POST /v1/batches") {
				t.Errorf("%s: %v", text, err)
			}
		}
	}
}
