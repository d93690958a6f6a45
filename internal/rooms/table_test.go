package rooms_test

import (
	"fmt"
	"strings"
	"testing"

	"tiwsnap/internal/rooms"
)

func TestHeader(t *testing.T) {
	run(t, rooms.Options{}, []test{
		{"an empty file", "", []string{"the file is empty"}},
		{"nothing but blank lines", "\ufeff\r\n  \r\n", []string{"the file is empty"}},
		{"a header only", "SdkAppId,RoomId\n\n", []string{"the file has a header and no rows"}},
		{"no header", "1400123480,12345\n1400123480,12346\n",
			[]string{"line 1: the first line must be a header like SdkAppId,RoomId"}},
		{"no RoomId", "SdkAppId,Label.A\n1,2\n", []string{"line 1: the header has no column RoomId"}},
		{"no SdkAppId", "RoomId\n2\n", []string{"line 1: the header has no column SdkAppId, and there is no default for it"}},
		{"every fault of the header",
			"sdkappid,RoomId,SnapshotMod,room_id,Width,school,Label.Class,Label.A,label a,,RoomId,Label.\n1,2\n", []string{
				`line 1, column 3: "SnapshotMod" is no known column, did you mean SnapshotMode; ` +
					`column 4: RoomId is column 2 already; ` +
					`column 5: "Width" is no known column, did you mean Whiteboard.Width; ` +
					`column 6: "school" is no known column, give your own words a name like Label.school; ` +
					`column 11: RoomId is column 2 already; ` +
					`column 12: "Label." is no known column, labels are called Label.NAME`}},
		{"labels keep their case", "SdkAppId,RoomId,Label.a,Label.A\n1,2,x,y\n",
			[]string{`2 {"SdkAppId":1,"RoomId":2,"Label":{"A":"y","a":"x"}}`}},
		{"a callback",
			"SdkAppId,RoomId,CallbackURL\n1,2,https://example.com/cb?token=t\n1,3,\n1,4,ftp://T0KEN@example.com\n" +
				"1,5,http://exa mple.com/\n",
			[]string{
				`2 {"SdkAppId":1,"RoomId":2,"CallbackURL":"https://example.com/cb?token=t"}`, `3 {"SdkAppId":1,"RoomId":3}`,
				"line 4, column 3: CallbackURL must be a URL that begins with https:// or http://",
				"line 5, column 3: CallbackURL must be a URL that begins with https:// or http://"}},
		{"a callback under other names", "SdkAppId,RoomId,callback,callbackUrl\n1,2,,\n",
			[]string{`line 1, column 3: "callback" is no known column, did you mean CallbackURL`}},
		{"a bad quote", "SdkAppId,RoomId,\"Label.A\"\"\n1,2,\n",
			[]string{"line 1, column 3: the field has a quote that is never closed, so the rest of the file cannot be read"}},
		{"a NUL byte", "R\x00oomId\n1\n", []string{`the file is not text, save it as .xlsx or as "CSV UTF-8"`}},
		{"half a workbook", "PK\x03\x04\x14\x00\x06\x00",
			[]string{`the file is a damaged .xlsx or zip archive: zip: not a valid zip file`}},
	})
}

func TestSwappedColumns(t *testing.T) {
	var file strings.Builder
	file.WriteString("RoomId,SdkAppId\n")
	for i := range 1001 {
		fmt.Fprintf(&file, "1400123480,%d\n", i+1)
	}
	got := read(strings.NewReader(file.String()), rooms.Options{})
	want := "line 1002: the file has more than 1000 different SdkAppIds, perhaps the columns SdkAppId and " +
		"RoomId are swapped"
	if len(got) != 1001 || got[1000] != want {
		t.Errorf("%d rows, the last %q", len(got), got[len(got)-1])
	}
}
