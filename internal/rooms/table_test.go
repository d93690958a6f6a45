package rooms_test

import (
	"fmt"
	"strings"
	"testing"

	"tiwsnap/internal/rooms"
)

func TestHeader(t *testing.T) {
	runTests(t, rooms.Options{}, []readTest{
		{"an empty file", "", []string{"the file is empty"}},
		{"blank lines only", "\ufeff\r\n  \r\n", []string{"the file is empty"}},
		{"a header only", "SdkAppId,RoomId\n\n", []string{"the file has a header and no rows"}},
		{"no header", "1400123480,12345\n1400123480,12346\n",
			[]string{"line 1: the first line must be a header like SdkAppId,RoomId"}},
		{"no RoomId", "SdkAppId,Label.A\n1,2\n", []string{"line 1: the header has no column RoomId"}},
		{"no SdkAppId", "RoomId\n2\n",
			[]string{"line 1: the header has no column SdkAppId: add one, or set it for all rows (--app)"}},
		{"all faults of a header",
			"sdkappid,RoomId,SnapshotMod,room_id,Width,school,Label.Class,Label.A,label a,,RoomId,Label.\n1,2\n", []string{
				`line 1, column 3: "SnapshotMod" is not a known column, did you mean SnapshotMode; ` +
					`column 4: RoomId is column 2 already; ` +
					`column 5: "Width" is not a known column, did you mean Whiteboard.Width; ` +
					`column 6: "school" is not a known column, a label has a name like Label.school; ` +
					`column 11: RoomId is column 2 already; ` +
					`column 12: "Label." is not a known column, labels are called Label.NAME`}},
		{"labels keep their case", "SdkAppId,RoomId,Label.a,Label.A\n1,2,x,y\n",
			[]string{`2 {"SdkAppId":1,"RoomId":2,"Label":{"A":"y","a":"x"}}`}},
		{"CallbackURL",
			"SdkAppId,RoomId,CallbackURL\n1,2,https://example.com/cb?token=t\n1,3,\n1,4,ftp://T0KEN@example.com\n" +
				"1,5,http://exa mple.com/\n",
			[]string{
				`2 {"SdkAppId":1,"RoomId":2,"CallbackURL":"https://example.com/cb?token=t"}`, `3 {"SdkAppId":1,"RoomId":3}`,
				"line 4, column 3: CallbackURL must be a URL that begins with https:// or http://",
				"line 5, column 3: CallbackURL must be a URL that begins with https:// or http://"}},
		{"other spellings of CallbackURL", "SdkAppId,RoomId,callback,callbackUrl\n1,2,,\n",
			[]string{`line 1, column 3: "callback" is not a known column, did you mean CallbackURL`}},
		{"an unclosed quote", "SdkAppId,RoomId,\"Label.A\"\"\n1,2,\n",
			[]string{"line 1, column 3: the field has a quote that is never closed, so the rest of the file cannot be read"}},
		{"a NUL byte", "R\x00oomId\n1\n", []string{`the file is not text, save it as .xlsx or as "CSV UTF-8"`}},
		{"a truncated workbook", "PK\x03\x04\x14\x00\x06\x00",
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
		t.Errorf("got %d rows, the last one %q, want 1001 and %q", len(got), got[len(got)-1], want)
	}
}

func TestHeaderVariants(t *testing.T) {
	ok := []string{room(2, 2)}
	withNotes := func(rows []string, notes ...string) []string {
		for _, n := range notes {
			rows = append(rows, "note: "+n)
		}
		return rows
	}
	for _, tt := range []readTest{
		{"sep and a tab", "sep=\t\nSdkAppId\tRoomId\n1\t2\n", []string{room(3, 2)}},
		{"sep and a bar", "\ufeffSEP=|\r\nSdkAppId|RoomId|Label.A\r\n1|2|a,b;c\r\n", []string{
			`3 {"SdkAppId":1,"RoomId":2,"Label":{"A":"a,b;c"}}`}},
		{"sep in quotes, as saved again by a spreadsheet", "\"sep=;\",,\nSdkAppId;RoomId\n1;2\n", []string{room(3, 2)}},
		{"sep without a delimiter", "sep=\nSdkAppId,RoomId\n1,2\n", withNotes([]string{room(3, 2)},
			"line 1: skipped, as it stands before the header: sep=")},
		{"sep only", "sep=;\n", []string{"the file is empty"}},
		{"an unnamed column in the middle", "SdkAppId,,RoomId\n1,,2\n1,x,3\n", []string{room(2, 2),
			`line 3, column 2: "x" is in a column without a name: name it in the header, or delete it`}},
		{"empty fields after the last column", "SdkAppId,RoomId\n1,2,,\n1,3, ,\"\"\n1,4,x\n", []string{room(2, 2), room(3, 3),
			"line 4: the row has 3 fields, the header has 2 (a field that contains ',' must be in quotes)"}},
		{"rows that end before unnamed columns", "SdkAppId,RoomId,,\n1,2\n1\n", []string{room(2, 2),
			"line 3: the row has 1 field, the header has 4"}},
		{"rows of empty quoted fields", "SdkAppId,RoomId\n\"\",\"\"\n1,2\n", []string{room(3, 2)}},
		{"other spellings of column names", "SDK_APP_ID,room id,White-Board Width\n1,2,3\n", []string{
			`2 {"SdkAppId":1,"RoomId":2,"Whiteboard":{"Width":3}}`}},
		{"label columns", "SdkAppId,RoomId,LABEL_Class,label: School,Label.a_B\n1,2,x,y,z\n", []string{
			`2 {"SdkAppId":1,"RoomId":2,"Label":{"Class":"x","School":"y","a_B":"z"}}`}},
		{"full-width characters", "ＳｄｋＡｐｐＩｄ,ＲｏｏｍＩｄ,Label．班级,Label：年\n1,2,三,四\n", []string{
			`2 {"SdkAppId":1,"RoomId":2,"Label":{"年":"四","班级":"三"}}`}},
		{"zero-width characters", "\u200bSdkAppId,RoomId\ufeff\n1,\u200b2\n", ok},
		{"a name that begins with label", "SdkAppId,RoomId,Labelled\n1,2,x\n", []string{
			`line 1, column 3: "Labelled" is not a known column, a label has a name like Label.Labelled`}},
		{"a title", "三年级 2026,,\n\nSdkAppId,RoomId,Label.A\n1,2,\n", withNotes([]string{room(4, 2)},
			"line 1: skipped, as it stands before the header: 三年级 2026")},
		{"comments", "# exported, 08:00\n# by \"ada\"\nSdkAppId,RoomId\n1,2\n", withNotes([]string{room(4, 2)},
			"line 1: skipped, as it stands before the header: # exported", "line 2: skipped, as it stands before the header: ")},
		{"terminal escapes in a title", "\x1b[2J\nSdkAppId,RoomId\n1,2\n", withNotes([]string{room(3, 2)},
			"line 1: skipped, as it stands before the header: \ufffd[2J")},
		{"a title and a header without RoomId", "Class list\nSdkAppId,RoomNr\n1,2\n", []string{
			`line 2, column 2: "RoomNr" is not a known column, did you mean RoomId`}},
		{"titles only", strings.Repeat("Class list\n", 30) + "SdkAppId,RoomId\n1,2\n", []string{
			`line 1, column 1: "Class list" is not a known column, a label has a name like Label.Class list`}},
		{"rooms before the header are an error", "1400,7\nSdkAppId,RoomId\n1,2\n", []string{
			"line 1: the first line must be a header like SdkAppId,RoomId"}},
		{"rooms before the header, after a title", "Rooms\n1400,7\nSdkAppId,RoomId\n1,2\n", []string{
			`line 1, column 1: "Rooms" is not a known column, did you mean RoomId`}},
		{"a second header with other columns", "SdkAppId,RoomId\n1,2\nRoomId,SdkAppId,Label.A\n3,1,x\n", withNotes([]string{
			room(2, 2), `4 {"SdkAppId":1,"RoomId":3,"Label":{"A":"x"}}`},
			"line 3: a second header; its columns are those of the rows below")},
		{"an invalid second header is an invalid row", "SdkAppId,RoomId\n1,2\nSdkAppId,RoomId,Romm\n1,3\n",
			[]string{room(2, 2),
				"line 3: the row has 3 fields, the header has 2 (a field that contains ',' must be in quotes)", room(4, 3)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			checkLines(t, tt.want, readWithNotes(strings.NewReader(tt.file), rooms.Options{}))
		})
	}
}
