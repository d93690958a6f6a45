package rooms_test

import (
	"fmt"
	"strings"
	"testing"

	"tiwsnap/internal/rooms"
)

func TestNumberNotations(t *testing.T) {
	for text, want := range map[string]uint64{
		"7": 7, "'7": 7, "’7": 7, "`7": 7, "７００": 700, "'７．０": 7, "7.0": 7, "7.00": 7, "7.0000": 7,
		"1400123480.000": 1400123480,
		`"=""7"""`:       7, `"7,0"`: 7, `"7,00"`: 7, "007": 7, "18446744073709551615": 18446744073709551615,
		"18446744073709551615.0": 18446744073709551615,
		"9007199254740993.0":     9007199254740993,
		"900.000":                0, `"900,000"`: 0, "7.": 0, ".0": 0, "7.05": 0, "7.5": 0, "''7": 0, "'": 0,
		"7'": 0, "7.0.0": 0,
		"7e0": 0, "1.0e3": 0,
		"18446744073709551616": 0, "18446744073709551615.5": 0, `"7,000,000"`: 0, "７５％": 0, "-7": 0, "0.0": 0,
	} {
		got := readWithNotes(strings.NewReader("SdkAppId,RoomId\n1,"+text+"\n"), rooms.Options{})
		row := fmt.Sprintf(`2 {"SdkAppId":1,"RoomId":%d}`, want)
		if want > 0 && got[0] != row || want == 0 && !strings.HasPrefix(got[0], "line 2, column 2: RoomId is ") {
			t.Errorf("RoomId %s: got %q, want %d (0 for an error)", text, got, want)
		}
	}
	checkLines(t, []string{room(1, 2), `line 2, column 24: RoomId is "2.5", it must be a whole number`},
		readWithNotes(strings.NewReader(`{"SdkAppId":1,"RoomId":2.0}`+"\n"+`{"SdkAppId":1,"RoomId":2.5}`), rooms.Options{}))
}
