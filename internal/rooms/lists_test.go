package rooms_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
	"golang.org/x/text/encoding/unicode"

	"tiwsnap/internal/rooms"
	"tiwsnap/tasks"
)

// tell returns the result of read, followed by the notes.
func tell(r io.Reader, o rooms.Options) []string {
	var notes []string
	o.Notes = func(n rooms.Note) { notes = append(notes, "note: "+n.String()) }
	return append(read(r, o), notes...)
}

func same(t *testing.T, want, got []string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// The lists in testdata/lists are written as spreadsheets, portals and scripts write them.
func TestListsAsPeopleHaveThem(t *testing.T) {
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
			same(t, want, tell(bytes.NewReader(b), rooms.Options{}))
			same(t, want, tell(iotest.OneByteReader(bytes.NewReader(b)), rooms.Options{}))
		})
	}
	files, err := os.ReadDir(filepath.Join("testdata", "lists"))
	if err != nil || len(files) != 15 {
		t.Errorf("%d files, %v", len(files), err)
	}
}

func encoded(t *testing.T, e encoding.Encoding, text string) string {
	t.Helper()
	s, err := e.NewEncoder().String(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEncodings(t *testing.T) {
	const guessed = ", as its bytes suggest; if labels look wrong, name it (--encoding, or encoding= in a URL)"
	wide := func(o unicode.Endianness, p unicode.BOMPolicy) encoding.Encoding { return unicode.UTF16(o, p) }
	for _, tt := range []struct {
		name  string
		with  encoding.Encoding
		label string
		note  string
	}{
		{"UTF-16 LE with a mark", wide(unicode.LittleEndian, unicode.UseBOM), "三年级 😀",
			"utf-16le, as its byte order mark says"},
		{"UTF-16 BE with a mark", wide(unicode.BigEndian, unicode.UseBOM), "三年级 😀",
			"utf-16be, as its byte order mark says"},
		{"UTF-16 LE", wide(unicode.LittleEndian, unicode.IgnoreBOM), "三年级",
			"utf-16le, as its bytes suggest; if that is wrong, name it (--encoding, or encoding= in a URL)"},
		{"UTF-16 BE", wide(unicode.BigEndian, unicode.IgnoreBOM), "三年级",
			"utf-16be, as its bytes suggest; if that is wrong, name it (--encoding, or encoding= in a URL)"},
		{"GBK", simplifiedchinese.GBK, "朱镕基（高二）", "gb18030" + guessed},
		{"GB18030 with four bytes", simplifiedchinese.GB18030, "三年级 😀 Ünï", "gb18030" + guessed},
		{"windows-1252, French", charmap.Windows1252, "Élève de 3ème – français", "windows-1252" + guessed},
		{"windows-1252, German", charmap.Windows1252, "Straße, Größe, Übung", "windows-1252" + guessed},
		{"windows-1252, one letter", charmap.Windows1252, "München 3b", "windows-1252" + guessed},
		{"windows-1252, at the end", charmap.Windows1252, "Café", "windows-1252" + guessed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := []string{
				fmt.Sprintf(`2 {"SdkAppId":1,"RoomId":2,"Label":{"A":%q}}`, tt.label),
				fmt.Sprintf(`3 {"SdkAppId":1,"RoomId":3,"Label":{"A":%q}}`, tt.label),
				"note: the text is read as " + tt.note}
			quoted := `"` + tt.label + `"`
			file := encoded(t, tt.with, "SdkAppId,RoomId,Label.A\r\n1,2,"+quoted+"\r\n1,3,"+quoted)
			same(t, want, tell(strings.NewReader(file), rooms.Options{}))
			same(t, want, tell(iotest.OneByteReader(strings.NewReader(file)), rooms.Options{}))

			lines := `{"SdkAppId":1,"RoomId":2,"Label":{"A":` + quoted + "}}\n"
			same(t, []string{strings.Replace(want[0], "2", "1", 1), want[2]}, tell(strings.NewReader(encoded(t, tt.with, lines)),
				rooms.Options{}))
		})
	}

	t.Run("far behind the ASCII", func(t *testing.T) {
		var file strings.Builder
		file.WriteString("SdkAppId,RoomId,Label.A\n")
		for i := range 50_000 {
			fmt.Fprintf(&file, "1,%d,a\n", i+1)
		}
		file.WriteString(encoded(t, simplifiedchinese.GBK, "1,100000,三年级\n"))
		got := tell(strings.NewReader(file.String()), rooms.Options{})
		same(t, []string{`50002 {"SdkAppId":1,"RoomId":100000,"Label":{"A":"三年级"}}`,
			"note: the text is read as gb18030" + guessed}, got[50_000:])
	})

	const header = "SdkAppId,RoomId,Label.A\n"
	for _, tt := range []struct {
		name, file, encoding string
		want                 []string
	}{
		{"an encoding that was named", encoded(t, traditionalchinese.Big5, header+"1,2,三年級一班\n"), "Big5", []string{
			`2 {"SdkAppId":1,"RoomId":2,"Label":{"A":"三年級一班"}}`}},
		{"by the number of a code page", encoded(t, simplifiedchinese.GBK, header+"1,2,三\n"), "CP936", []string{
			`2 {"SdkAppId":1,"RoomId":2,"Label":{"A":"三"}}`}},
		{"a mark counts more", "\ufeff" + header + "1,2,三\n", "gbk",
			[]string{`2 {"SdkAppId":1,"RoomId":2,"Label":{"A":"三"}}`,
				"note: the text is read as utf-8, as its byte order mark says, not as gbk"}},
		{"UTF-8 that was named and is none", header + "1,1,a\n1,2,\xe9\n", "utf-8", []string{
			`2 {"SdkAppId":1,"RoomId":1,"Label":{"A":"a"}}`,
			`line 3: the text is not UTF-8: name it (--encoding, or encoding= in a URL), or save the file as "CSV UTF-8"`}},
		{"bytes that the encoding does not have", header + "1,2,\xc8\xfd\n1,3,\xff\n", "gb18030", []string{
			`2 {"SdkAppId":1,"RoomId":2,"Label":{"A":"三"}}`,
			"line 3: the text is not gb18030 as a whole: name it (--encoding, or encoding= in a URL)"}},
		{"half a pair in UTF-16", "\xff\xfe" + encoded(t, wide(unicode.LittleEndian, unicode.IgnoreBOM),
			header+"1,2,") + "\x3d\xd8\n\x00", "",
			[]string{"line 2: the text is not utf-16le as a whole: name it (--encoding, or encoding= in a URL)",
				"note: the text is read as utf-16le, as its byte order mark says"}},
		{"Big5 is not guessed", encoded(t, traditionalchinese.Big5, header+"1,2,三年級一班\n"), "", []string{unclear}},
		{"Shift JIS is not guessed", encoded(t, japanese.ShiftJIS, header+"1,2,三年一組\n"), "", []string{unclear}},
		{"Cyrillic is not guessed", encoded(t, charmap.Windows1251, header+"1,2,Математика\n"), "", []string{
			unclear}},
		{"UTF-32", "\xff\xfe\x00\x00R\x00\x00\x00", "", []string{`the file is UTF-32 text: save it as "CSV UTF-8"`}},
		{"UTF-8 first, then not", header + "1,2,é\n" + strings.Repeat(" \n", 64<<10) + "1,3,\xe9\n", "", []string{
			`2 {"SdkAppId":1,"RoomId":2,"Label":{"A":"é"}}`,
			`line 65539: the text is not UTF-8: name it (--encoding, or encoding= in a URL), or save the file as "CSV UTF-8"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, err := rooms.ParseEncoding(tt.encoding)
			if err != nil {
				t.Fatal(err)
			}
			same(t, tt.want, tell(strings.NewReader(tt.file), rooms.Options{Encoding: e}))
		})
	}
	if _, err := rooms.ParseEncoding("klingon"); err == nil || !strings.Contains(err.Error(),
		`"klingon" is not a known encoding`) {
		t.Error(err)
	}
}

const unclear = `line 2: the text is not UTF-8, and its encoding is not clear: name it (--encoding, or encoding= in ` +
	`a URL), or save the file as "CSV UTF-8"`

func TestHeadersAsPeopleWriteThem(t *testing.T) {
	ok := []string{room(2, 2)}
	noted := func(rows []string, notes ...string) []string {
		for _, n := range notes {
			rows = append(rows, "note: "+n)
		}
		return rows
	}
	for _, tt := range []test{
		{"sep and a tab", "sep=\t\nSdkAppId\tRoomId\n1\t2\n", []string{room(3, 2)}},
		{"sep and a bar", "\ufeffSEP=|\r\nSdkAppId|RoomId|Label.A\r\n1|2|a,b;c\r\n", []string{
			`3 {"SdkAppId":1,"RoomId":2,"Label":{"A":"a,b;c"}}`}},
		{"sep that a spreadsheet saved again", "\"sep=;\",,\nSdkAppId;RoomId\n1;2\n", []string{room(3, 2)}},
		{"sep without a delimiter", "sep=\nSdkAppId,RoomId\n1,2\n", noted([]string{room(3, 2)},
			"line 1: skipped, as it stands before the header: sep=")},
		{"nothing but sep", "sep=;\n", []string{"the file is empty"}},
		{"a column without a name in the middle", "SdkAppId,,RoomId\n1,,2\n1,x,3\n", []string{room(2, 2),
			`line 3, column 2: "x" is in a column without a name: name it in the header, or delete it`}},
		{"empty fields behind the header's", "SdkAppId,RoomId\n1,2,,\n1,3, ,\"\"\n1,4,x\n", []string{room(2, 2), room(3, 3),
			"line 4: the row has 3 fields, the header has 2 (a field that contains ',' must be in quotes)"}},
		{"rows that end before columns without a name", "SdkAppId,RoomId,,\n1,2\n1\n", []string{room(2, 2),
			"line 3: the row has 1 field, the header has 4"}},
		{"rows of quotes", "SdkAppId,RoomId\n\"\",\"\"\n1,2\n", []string{room(3, 2)}},
		{"spelling", "SDK_APP_ID,room id,White-Board Width\n1,2,3\n", []string{
			`2 {"SdkAppId":1,"RoomId":2,"Whiteboard":{"Width":3}}`}},
		{"labels", "SdkAppId,RoomId,LABEL_Class,label: School,Label.a_B\n1,2,x,y,z\n", []string{
			`2 {"SdkAppId":1,"RoomId":2,"Label":{"Class":"x","School":"y","a_B":"z"}}`}},
		{"full width", "ＳｄｋＡｐｐＩｄ,ＲｏｏｍＩｄ,Label．班级,Label：年\n1,2,三,四\n", []string{
			`2 {"SdkAppId":1,"RoomId":2,"Label":{"年":"四","班级":"三"}}`}},
		{"characters that cannot be seen", "\u200bSdkAppId,RoomId\ufeff\n1,\u200b2\n", ok},
		{"a word that begins with label", "SdkAppId,RoomId,Labelled\n1,2,x\n", []string{
			`line 1, column 3: "Labelled" is no known column, give your own words a name like Label.Labelled`}},
		{"a title", "三年级 2026,,\n\nSdkAppId,RoomId,Label.A\n1,2,\n", noted([]string{room(4, 2)},
			"line 1: skipped, as it stands before the header: 三年级 2026")},
		{"comments", "# exported, 08:00\n# by \"ada\"\nSdkAppId,RoomId\n1,2\n", noted([]string{room(4, 2)},
			"line 1: skipped, as it stands before the header: # exported", "line 2: skipped, as it stands before the header: ")},
		{"a title that would steer a terminal", "\x1b[2J\nSdkAppId,RoomId\n1,2\n", noted([]string{room(3, 2)},
			"line 1: skipped, as it stands before the header: \ufffd[2J")},
		{"a title and a header without RoomId", "Class list\nSdkAppId,RoomNr\n1,2\n", []string{
			`line 2, column 2: "RoomNr" is no known column, did you mean RoomId`}},
		{"titles only", strings.Repeat("Class list\n", 30) + "SdkAppId,RoomId\n1,2\n", []string{
			`line 1, column 1: "Class list" is no known column, give your own words a name like Label.Class list`}},
		{"rooms before the header are not skipped", "1400,7\nSdkAppId,RoomId\n1,2\n", []string{
			"line 1: the first line must be a header like SdkAppId,RoomId"}},
		{"nor behind a title", "Rooms\n1400,7\nSdkAppId,RoomId\n1,2\n", []string{
			`line 1, column 1: "Rooms" is no known column, did you mean RoomId`}},
		{"a second header with other columns", "SdkAppId,RoomId\n1,2\nRoomId,SdkAppId,Label.A\n3,1,x\n", noted([]string{
			room(2, 2), `4 {"SdkAppId":1,"RoomId":3,"Label":{"A":"x"}}`},
			"line 3: a second header; its columns are those of the rows below")},
		{"a second header that is wrong is a row that is wrong", "SdkAppId,RoomId\n1,2\nSdkAppId,RoomId,Romm\n1,3\n",
			[]string{room(2, 2),
				"line 3: the row has 3 fields, the header has 2 (a field that contains ',' must be in quotes)", room(4, 3)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			same(t, tt.want, tell(strings.NewReader(tt.file), rooms.Options{}))
		})
	}
}

func TestNumbersAsPeopleWriteThem(t *testing.T) {
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
		got := tell(strings.NewReader("SdkAppId,RoomId\n1,"+text+"\n"), rooms.Options{})
		if n := fmt.Sprintf(`2 {"SdkAppId":1,"RoomId":%d}`,
			want); want > 0 && got[0] != n || want == 0 && !strings.HasPrefix(got[0], "line 2, column 2: RoomId is ") {
			t.Errorf("%s: %q", text, got)
		}
	}
	same(t, []string{room(1, 2), `line 2, column 24: RoomId is "2.5", it must be a whole number`},
		tell(strings.NewReader(`{"SdkAppId":1,"RoomId":2.0}`+"\n"+`{"SdkAppId":1,"RoomId":2.5}`), rooms.Options{}))
}

// Rooms above 2^32-1 are distinguished, even if their lower 32 bits are the same.
func TestLargeRooms(t *testing.T) {
	got := tell(strings.NewReader("SdkAppId,RoomId\n1,5\n1,4294967301\n1,8589934597\n2,4294967301\n1,4294967301\n1,5\n"),
		rooms.Options{})
	same(t, []string{room(2, 5), room(3, 4294967301), room(4, 8589934597), `5 {"SdkAppId":2,"RoomId":4294967301}`,
		"line 6, column 2: RoomId 4294967301 of SdkAppId 1 is already on line 3",
		"line 7, column 2: RoomId 5 of SdkAppId 1 is already on line 2",
		"note: line 3: the first of 3 rooms with a RoomId above 4294967295, which other whiteboard APIs do not take"}, got)
}

func TestJSONArrays(t *testing.T) {
	mega := strings.Repeat("m", 1<<20)
	run(t, rooms.Options{}, []test{
		{"on one line", ` [{"SdkAppId":1,"RoomId":2},{"SdkAppId":1,"RoomId":3}] `, []string{room(1, 2), room(1, 3)}},
		{"indented",
			"\ufeff[\r\n  {\r\n    \"SdkAppId\": 1,\r\n    \"RoomId\": 2,\r\n    \"Label\": {\"A\": \"]},\\\"[{\"}\r\n  },\r\n" +
				"  {\"SdkAppId\":1,\"RoomId\":3}\r\n]\r\n",
			[]string{`2 {"SdkAppId":1,"RoomId":2,"Label":{"A":"]},\"[{"}}`, room(7, 3)}},
		{"indented objects", "{\n  \"SdkAppId\": 1,\n  \"RoomId\": 2\n}\n{\n  \"SdkAppId\": 1,\n  \"RoomId\": 3\n}\n",
			[]string{room(1, 2), room(5, 3)}},
		{"InitParams as an indented object",
			"[{\"SdkAppId\":1,\"RoomId\":2,\"Whiteboard\":{\"InitParams\":{\n\t\"a\": [1, 2.50],\n\t\"b\": \"x  y\"\n}}}]",
			[]string{`1 {"SdkAppId":1,"RoomId":2,"Whiteboard":{"InitParams":"{\"a\":[1,2.50],\"b\":\"x  y\"}"}}`}},
		{"faults have their column where the value has one line",
			"[\n  {\"SdkAppId\":1,\"RoomId\":0}, {\"SdkAppId\":1,\"RoomId\":-1},\n" +
				"  {\n\"SdkAppId\":1,\"RoomId\":0},\n  {\"SdkAppId\":1,\"RoomId\":2}\n]\n",
			[]string{"line 2, column 26: RoomId is 0, it must be 1 or more",
				`line 2, column 53: RoomId is "-1", it must not be negative`,
				"line 3: RoomId is 0, it must be 1 or more", room(5, 2)}},
		{"other values", "[1, \"a,b]\", null, [2], true,\n{\"SdkAppId\":1,\"RoomId\":2}]", []string{
			"line 1, column 2: the line is 1, it must be a JSON object",
			`line 1, column 5: the line is "a,b]", it must be a JSON object`,
			"line 1, column 13: the line is null, it must be a JSON object",
			"line 1, column 19: the line is [2], it must be a JSON object",
			"line 1, column 24: the line is true, it must be a JSON object", room(2, 2)}},
		{"a broken object", "[{\"SdkAppId\":1 \"RoomId\":2},\n{\"SdkAppId\":1,\"RoomId\":3}]", []string{
			`line 1, column 16: the line is not one whole JSON object: invalid character '"' after object key:value pair`,
			room(2, 3)}},
		{"cut off between rooms", "[\n{\"SdkAppId\":1,\"RoomId\":2},\n", []string{room(2, 2),
			"line 2: the JSON array is never closed: the file is cut off"}},
		{"cut off in a room", "[\n{\"SdkAppId\":1,\"RoomId\":2},\n{\"SdkAppId\":1,", []string{room(2, 2),
			"line 3: the JSON value is never closed: the file is cut off"}},
		{"more behind the end", "[{\"SdkAppId\":1,\"RoomId\":2}]\n[{\"SdkAppId\":1,\"RoomId\":3}]", []string{room(1, 2),
			"line 2: there is more behind the end of the JSON array"}},
		{"a bracket too many", "{\n\"SdkAppId\":1,\"RoomId\":2}\n]\n", []string{room(1, 2),
			"line 3: there is more behind the end of the JSON array"}},
		{"an empty array", "[]", []string{"the file has a header and no rows"}},
		{"1 MB in one object", `[{"SdkAppId":1,"RoomId":2,"Label":{"A":"` + mega + `"}},{"SdkAppId":1,"RoomId":0}]`,
			[]string{"line 1: the object is longer than 128 KiB", "line 1, column 1048644: RoomId is 0, it must be 1 or more"}},
		{"a rune across two texts of a long line", `[{"SdkAppId":1,"RoomId":2},` + strings.Repeat(" ",
			128<<10-70) + `{"SdkAppId":1,"RoomId":3,"Label":{"A":"` + strings.Repeat("三", 20) + `"}}]`,
			[]string{room(1, 2), `1 {"SdkAppId":1,"RoomId":3,"Label":{"A":"` + strings.Repeat("三", 20) + `"}}`}},
	})
}

func TestFilesThatAreNoLists(t *testing.T) {
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
		if got := tell(strings.NewReader(file), rooms.Options{}); len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("%q: %q, want %s", file, got, want)
		}
	}
	same(t, []string{`the file is no workbook (.xlsx), so it has no sheet "Monday"`},
		tell(strings.NewReader("RoomId\n1\n"), rooms.Options{Sheet: "Monday"}))
}

// Each list in docs/lists.md has the result that follows it there.
func TestTheExamplesOfTheDocs(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "lists.md"))
	if err != nil {
		t.Fatal(err)
	}
	pairs := regexp.MustCompile("(?s)```(?:csv|json)\n(.*?)```\n+```text\n(.*?)```").FindAllSubmatch(text, -1)
	if n := bytes.Count(text, []byte("```text\n")); n != len(pairs) || n < 4 {
		t.Errorf("%d examples, %d of them with a list", n, len(pairs))
	}
	for _, p := range pairs {
		want := strings.Split(strings.TrimSuffix(string(p[2]), "\n"), "\n")
		same(t, want, tell(bytes.NewReader(p[1]), rooms.Options{Defaults: tasks.Room{SdkAppId: 1400123480}}))
	}
}
