package rooms_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/internal/needs"
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

func TestCSV(t *testing.T) {
	run(t, rooms.Options{}, []test{
		{"every field",
			"SdkAppId,RoomId,SnapshotMode,Whiteboard.Width,Whiteboard.Height,Whiteboard.InitParams,COS.Uin," +
				"COS.Region,COS.Bucket,COS.TargetDir,COS.Domain,Label.School,Label.老师\n" +
				`1400123480,12345,LatestMarksOnly,0,2560,"{""ratio"":""4:3""}",100000000001,ap-guangzhou,` +
				`notes-1250000000,monday,cdn.example.com,No. 1,王` + "\n",
			[]string{`2 {"SdkAppId":1400123480,"RoomId":12345,"Whiteboard":{"Width":0,"Height":2560,` +
				`"InitParams":"{\"ratio\":\"4:3\"}"},"SnapshotMode":"LatestMarksOnly","COS":{"Uin":100000000001,` +
				`"Region":"ap-guangzhou","Bucket":"notes-1250000000","TargetDir":"monday",` +
				`"Domain":"cdn.example.com"},"Label":{"School":"No. 1","老师":"王"}}`}},
		{"an empty field is left out", "RoomId,SdkAppId,Whiteboard.Width,COS.Uin,SnapshotMode,Label.A,Label.B\n2,1,,,,,b\n",
			[]string{`2 {"SdkAppId":1,"RoomId":2,"Label":{"B":"b"}}`}},
		{"blanks count in labels only", "SdkAppId , RoomId,SnapshotMode,Label.A\n 1,\t2 , AllMarks\u00a0, a \n",
			[]string{`2 {"SdkAppId":1,"RoomId":2,"SnapshotMode":"AllMarks","Label":{"A":" a "}}`}},
		{"a byte order mark", "\ufeffSdkAppId,RoomId\n1,2\n", []string{room(2, 2)}},
		{"a byte order mark before a quote", "\ufeff\"SdkAppId\",RoomId\n1,2\n", []string{room(2, 2)}},
		{"CRLF", "SdkAppId,RoomId\r\n1,2\r\n1,3\r\n", []string{room(2, 2), room(3, 3)}},
		{"lone CR", "SdkAppId,RoomId\r1,2\r1,3\r", []string{room(2, 2), room(3, 3)}},
		{"all line ends in one file", "SdkAppId,RoomId\r1,2\n\r1,3\r\n1,4\r\r\n1,5",
			[]string{room(2, 2), room(4, 3), room(5, 4), room(7, 5)}},
		{"no line end at the end", "SdkAppId,RoomId\n1,2", []string{room(2, 2)}},
		{"no line end at the end of a long line", "SdkAppId,RoomId,Label.A\n1,2,0123456789abcdefghijklmnopqrstuvwxyz",
			[]string{`2 {"SdkAppId":1,"RoomId":2,"Label":{"A":"0123456789abcdefghijklmnopqrstuvwxyz"}}`}},
		{"semicolons", "SdkAppId;RoomId;Label.A\n1;2;a,b\n", []string{`2 {"SdkAppId":1,"RoomId":2,"Label":{"A":"a,b"}}`}},
		{"tabs", "SdkAppId\tRoomId\tLabel.A\n1\t2\ta,b;c\n", []string{`2 {"SdkAppId":1,"RoomId":2,"Label":{"A":"a,b;c"}}`}},
		{"delimiters inside quotes of the header", "SdkAppId;RoomId;\"Label.a,b,c,d\"\n1;2;x\n",
			[]string{`2 {"SdkAppId":1,"RoomId":2,"Label":{"a,b,c,d":"x"}}`}},
		{"blank lines and empty rows", "\n \nSdkAppId,RoomId\n\n1,2\n,\n , \t\n1,3\n\n\n", []string{room(5, 2), room(8, 3)}},
		{"line numbers go on behind newlines in quotes",
			"SdkAppId,RoomId,Label.A\n1,2,\"x\r\ny\n\n\"\"z\"\"\"\n1,0,\n1,4,\"\"\n",
			[]string{`2 {"SdkAppId":1,"RoomId":2,"Label":{"A":"x\ny\n\n\"z\""}}`,
				"line 6, column 2: RoomId is 0, it must be 1 or more",
				room(7, 4)}},
		{"a newline in quotes of the header", "SdkAppId,RoomId,\"Label.a\nb\"\n1,2,x\n",
			[]string{`3 {"SdkAppId":1,"RoomId":2,"Label":{"a\nb":"x"}}`}},
	})
}

func TestCSVFaults(t *testing.T) {
	run(t, rooms.Options{}, []test{
		{"RoomId missing", "SdkAppId,RoomId\n1,\n1,3\n", []string{"line 2, column 2: RoomId is missing", room(3, 3)}},
		{"RoomId no number", "SdkAppId,RoomId\n1,maths\n1,3\n",
			[]string{`line 2, column 2: RoomId is "maths", it must be a whole number`, room(3, 3)}},
		{"numbers as spreadsheets and people write them", "SdkAppId;RoomId\n" + strings.Join([]string{
			"1.4E+09;2", "1;1.23e+09", "1;12345.5", "1;12,345", "1;12 345", "1;12'345", "1;-5", "1;+5", "1;0", "1;0x1F",
			"1;十二", "1;NaN",
			"1;18446744073709551616", "1;99999999999999999999", "1;-1e5", "1;=A1\x1b[31m"}, "\n"),
			[]string{
				`line 2, column 1: SdkAppId is "1.4E+09", spreadsheets shorten long numbers: format the ` +
					`column as text and save again`,
				`line 3, column 2: RoomId is "1.23e+09", spreadsheets shorten long numbers: format the ` +
					`column as text and save again`,
				`line 4, column 2: RoomId is "12345.5", it must be a whole number`,
				`line 5, column 2: RoomId is "12,345", it must have no thousands separators`,
				`line 6, column 2: RoomId is "12 345", it must have no thousands separators`,
				`line 7, column 2: RoomId is "12'345", it must have no thousands separators`,
				`line 8, column 2: RoomId is "-5", it must not be negative`,
				`line 9, column 2: RoomId is "+5", it must be a whole number`,
				`line 10, column 2: RoomId is 0, it must be 1 or more`,
				`line 11, column 2: RoomId is "0x1F", it must be a whole number`,
				`line 12, column 2: RoomId is "十二", it must be a whole number`,
				`line 13, column 2: RoomId is "NaN", it must be a whole number`,
				`line 14, column 2: RoomId is "18446744073709551616", that is too large`,
				`line 15, column 2: RoomId is "99999999999999999999", that is too large`,
				`line 16, column 2: RoomId is "-1e5", it must not be negative`,
				`line 17, column 2: RoomId is "=A1\x1b[31m", it must be a whole number`,
			}},
		{"width over 2560", "SdkAppId,RoomId,Whiteboard.Width\n1,2,2561\n1,3,2560\n",
			[]string{"line 2, column 3: Whiteboard.Width is 2561, it must be from 0 to 2560",
				`3 {"SdkAppId":1,"RoomId":3,"Whiteboard":{"Width":2560}}`}},
		{"a bad SnapshotMode", "SdkAppId,RoomId,SnapshotMode\n1,2,allmarks\n",
			[]string{`line 2, column 3: SnapshotMode is "allmarks", it must be AllMarks or LatestMarksOnly`}},
		{"COS without a bucket", "SdkAppId,RoomId,COS.Uin,COS.Region,COS.Bucket\n1,2,100,ap-guangzhou,\n",
			[]string{"line 2, column 5: COS.Bucket is missing (a COS block needs Uin, Region and Bucket)"}},
		{"COS without a column for the bucket", "SdkAppId,RoomId,COS.Uin,COS.Region\n1,2,100,ap-guangzhou\n",
			[]string{"line 2: COS.Bucket is missing (a COS block needs Uin, Region and Bucket)"}},
		{"every fault of a row in the order of its columns", "RoomId,COS.Uin,SnapshotMode,SdkAppId\nx,5,y,z\n",
			[]string{`line 2: COS.Region is missing (a COS block needs Uin, Region and Bucket); COS.Bucket is ` +
				`missing (a COS block needs Uin, Region and Bucket); ` +
				`column 1: RoomId is "x", it must be a whole number; column 3: SnapshotMode is "y", it must be ` +
				`AllMarks or LatestMarksOnly; column 4: SdkAppId is "z", it must be a whole number`}},
		{"InitParams that are not JSON", "SdkAppId,RoomId,Whiteboard.InitParams\n1,2,ratio=4:3\n",
			[]string{"line 2, column 3: Whiteboard.InitParams is not a JSON document"}},
		{"duplicate rooms", "SdkAppId,RoomId\n1,2\n2,2\n1,3\n1,2\n2,2\n1,2\n",
			[]string{room(2, 2), `3 {"SdkAppId":2,"RoomId":2}`, room(4, 3),
				"line 5, column 2: RoomId 2 of SdkAppId 1 is already on line 2",
				"line 6, column 2: RoomId 2 of SdkAppId 2 is already on line 3",
				"line 7, column 2: RoomId 2 of SdkAppId 1 is already on line 2"}},
		{"a row that is wrong is no duplicate", "SdkAppId,RoomId,SnapshotMode\n1,2,x\n1,2,\n",
			[]string{`line 2, column 3: SnapshotMode is "x", it must be AllMarks or LatestMarksOnly`, room(3, 2)}},
		{"too few and too many fields", "SdkAppId,RoomId,Label.A\n1,2\n1\n1,2,a,b\n1,3,\n",
			[]string{"line 2: the row has 2 fields, the header has 3",
				"line 3: the row has 1 field, the header has 3",
				"line 4: the row has 4 fields, the header has 3 (a field that contains ',' must be in quotes)",
				room(5, 3)}},
		{"quotes in the wrong place", "SdkAppId,RoomId,Label.A\n1,2,5\" x\n1,3,\"a\"b\n1,4,\"a\" ,\n1,5,x,\"y\"z\n1,6,\n",
			[]string{"line 2, column 3: Label.A has a quote in the middle: put the whole field in quotes and double " +
				"those inside",
				"line 3, column 3: Label.A goes on after its closing quote: double the quotes inside a quoted field",
				"line 4, column 3: Label.A goes on after its closing quote: double the quotes inside a quoted field",
				"line 5, column 4: the field goes on after its closing quote: double the quotes inside a quoted field",
				room(6, 6)}},
		{"a quote that is never closed", "SdkAppId,RoomId,Label.A,Label.B\n1,2,\"a\na\",\"b\n1,3,,\n",
			[]string{"line 3, column 4: Label.B has a quote that is never closed, so the rest of the file cannot be read"}},
		{"a NUL byte", "SdkAppId,RoomId,Label.A\n1,2,a\x00b\n", []string{"line 2, column 3: Label.A contains a NUL byte"}},
		{"a long label", "SdkAppId,RoomId,Label.A\n1,2," + strings.Repeat("a", 1025) + "\n",
			[]string{"line 2, column 3: Label.A is 1025 bytes long, at most 1024 are allowed"}},
		{"a label's name that would steer a terminal", "SdkAppId,RoomId,Label.\x1b[2J\n1,2,\"a\"b\n",
			[]string{"line 2, column 3: Label.\ufffd[2J goes on after its closing quote: double the quotes inside a " +
				"quoted field"}},
	})
}

func TestCSVTooLong(t *testing.T) {
	mega := strings.Repeat("m", 1<<20)
	rows := strings.Repeat("1,7,x\n", 50_000)
	const header = "SdkAppId,RoomId,Label.A,Label.B\n"
	skipRow := []string{"line 2, column 3: Label.A makes the row longer than 128 KiB", room(3, 3)}
	run(t, rooms.Options{}, []test{
		{"1 MB in one field", header + "1,2," + mega + ",\n1,3,,\n", skipRow},
		{"1 MB in a quoted field", header + "1,2,\"" + mega + "\",\n1,3,,\n", skipRow},
		{"1 MB of doubled quotes", header + "1,2,\"" + strings.Repeat(`""`, 1<<19) + "\",\n1,3,,\n", skipRow},
		{"1 MB of doubled quotes, one byte later",
			header + "11,2,\"" + strings.Repeat(`""`, 1<<19) + "\",\n1,3,,\n", skipRow},
		{"a quoted newline behind 1 MB", header + "1,2," + mega + ",\"\n1,9,,\n\"\n1,3,,\n",
			[]string{skipRow[0], room(5, 3)}},
		{"quotes without meaning behind 1 MB", header + "1,2," + mega + "\" \"\",x\"\"\n1,3,,\n", skipRow},
		{"rows inside a quoted field are no rows", header + "1,2,\"\n" + rows + "\",\n1,3,,\n",
			[]string{skipRow[0], room(50_004, 3)}},
		{"1 MB where the quote is never closed", header + "1,2,\"\n" + rows,
			[]string{"line 2, column 3: Label.A has a quote that is never closed, so the rest of the file cannot be read"}},
		{"1 MB at the end of the file", header + "1,3,,\n1,2," + mega,
			[]string{room(2, 3), "line 3, column 3: Label.A makes the row longer than 128 KiB"}},
		{"a bare quote before 1 MB", header + "1,2,a\"," + mega + "\n1,3,,\n",
			[]string{"line 2, column 3: Label.A has a quote in the middle: put the whole field in quotes and double " +
				"those inside", room(3, 3)}},
		{"1 MB of blanks", header + strings.Repeat(" ", 1<<20) + "\n1,3,,\n",
			[]string{"line 2, column 1: SdkAppId makes the row longer than 128 KiB", room(3, 3)}},
		{"1 MB of header", "SdkAppId,RoomId," + mega + "\n1,2,3\n",
			[]string{"line 1, column 3: the field makes the row longer than 128 KiB"}},
	})
	t.Run("at every distance from the bound a long row is told from the next", func(t *testing.T) {
		needs.Time(t)
		for n := rooms.MaxRowBytes - 20; n < rooms.MaxRowBytes+5; n++ {
			for _, tail := range []string{"\n", "\r", "\r\n", ",\n", ",\"a\nb\"\r\n"} {
				for _, quote := range []string{"", `"`} {
					file := "SdkAppId,RoomId,Label.A\n1,2," + quote + strings.Repeat("m", n) + quote + tail + "1,3,\n"
					got := read(strings.NewReader(file), rooms.Options{})
					line := 3 + strings.Count(tail, "\nb")
					if len(got) != 2 || !strings.HasPrefix(got[0], "line 2") || got[1] != room(line, 3) {
						t.Fatalf("%d bytes, quote %q, line end %q: %q", n, quote, tail, got)
					}
				}
			}
		}
	})
}

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

func TestJSONLines(t *testing.T) {
	run(t, rooms.Options{}, []test{
		{"nested, as in the API",
			`{"SdkAppId":1400123480,"RoomId":12345,"SnapshotMode":"AllMarks","Whiteboard":{"Width":0,"Height":2560,` +
				`"InitParams":"{\"ratio\":\"4:3\"}"},"COS":{"Uin":100000000001,"Region":"ap-guangzhou",` +
				`"Bucket":"notes-1250000000","TargetDir":"monday","Domain":"cdn.example.com"},"Label":{"School":"No. 1","老师":"王"}}`,
			[]string{`1 {"SdkAppId":1400123480,"RoomId":12345,"Whiteboard":{"Width":0,"Height":2560,` +
				`"InitParams":"{\"ratio\":\"4:3\"}"},"SnapshotMode":"AllMarks","COS":{"Uin":100000000001,` +
				`"Region":"ap-guangzhou","Bucket":"notes-1250000000","TargetDir":"monday",` +
				`"Domain":"cdn.example.com"},"Label":{"School":"No. 1","老师":"王"}}`}},
		{"dotted, as in CSV", `{"SdkAppId":1,"RoomId":2,"Whiteboard.Width":3,"Label.A.B":"x","Label":{"C":""},"COS":{}}`,
			[]string{`1 {"SdkAppId":1,"RoomId":2,"Whiteboard":{"Width":3},"Label":{"A.B":"x","C":""}}`}},
		{"blanks, escapes and null",
			"\ufeff\n \t\r\n { \"SdkAppId\" :\t1 , \"Room\\u0049d\": 2 , \"COS\": null, " +
				"\"SnapshotMode\":null,\"Label\" : { \"\\\"\" : \"a\\n\\u00e9\\\\\" , \"b\":\"{\\\"}\" } } \r\n" +
				"{\"SdkAppId\":1,\"RoomId\":3}",
			[]string{`3 {"SdkAppId":1,"RoomId":2,"Label":{"\"":"a\né\\","b":"{\"}"}}`, room(4, 3)}},
	})
}

func TestJSONFaults(t *testing.T) {
	mega := strings.Repeat("m", 1<<20)
	run(t, rooms.Options{}, []test{
		{"syntax", strings.Join([]string{
			`{"SdkAppId":1,"RoomId":2`, `{"SdkAppId":1,"RoomId":2} {}`, `{"SdkAppId":1 "RoomId":2}`, `[1]`, `5`, `null`,
			`{"RoomId":01}`, `{}`,
			`{"x":` + strings.Repeat("[", 20_000), `{"SdkAppId":1,"RoomId":2}`}, "\n"),
			[]string{
				"line 1, column 24: the line is not one whole JSON object: unexpected end of JSON input",
				"line 2, column 27: the line is not one whole JSON object: invalid character '{' after top-level value",
				`line 3, column 15: the line is not one whole JSON object: invalid character '"' after object key:value pair`,
				"line 4, column 1: the line is [1], it must be a JSON object",
				"line 5, column 1: the line is 5, it must be a JSON object",
				"line 6, column 1: the line is null, it must be a JSON object",
				"line 7, column 12: the line is not one whole JSON object: invalid character '1' after object key:value pair",
				"line 8: SdkAppId is missing; RoomId is missing",
				"line 9, column 10005: the line is not one whole JSON object: invalid character '[' exceeded max depth",
				room(10, 2)}},
		{"unknown names", strings.Join([]string{
			`{"SdkAppId":1,"RoomNr":2}`, `{"SdkAppId":1,"RoomId":2,"Whiteboard":{"With":5}}`,
			`{"SdkAppId":1,"RoomId":2,"teacher":"x"}`,
			`{"SdkAppId":1,"RoomId":2,"callback":""}`, `{"SdkAppId":1,"RoomId":2,"":""}`,
			`{"SdkAppId":1,"RoomId":2,"Label":{"":"x"}}`}, "\n"),
			[]string{
				`line 1, column 24: "RoomNr" is no known name, did you mean RoomId`,
				`line 2, column 47: "Whiteboard.With" is no known name, did you mean Whiteboard.Width`,
				`line 3, column 36: "teacher" is no known name, give your own words a name like Label.teacher`,
				`line 4, column 37: "callback" is no known name, did you mean CallbackURL`,
				`line 5, column 29: "" is no name, name it or delete it`,
				`line 6, column 38: "Label." is no known name, labels are called Label.NAME`}},
		{"duplicate names", strings.Join([]string{
			`{"SdkAppId":1,"RoomId":2,"RoomId":3}`, `{"SdkAppId":1,"RoomId":2,"Label":{"A":"a"},"Label.A":"b"}`,
			`{"SdkAppId":1,"RoomId":2,"COS":{"Uin":1},"COS":{"Uin":2}}`}, "\n"),
			[]string{
				"line 1, column 35: RoomId appears twice",
				"line 2, column 54: Label.A appears twice",
				"line 3: COS.Region is missing (a COS block needs Uin, Region and Bucket); COS.Bucket is missing (a " +
					"COS block needs Uin, Region and Bucket); column 55: COS.Uin appears twice"}},
		{"wrong types", strings.Join([]string{
			`{"SdkAppId":1,"RoomId":"12345"}`, `{"SdkAppId":1,"RoomId":true}`, `{"SdkAppId":1,"RoomId":[2]}`,
			`{"SdkAppId":1,"RoomId":1.2e3}`,
			`{"SdkAppId":1,"RoomId":-2}`, `{"SdkAppId":1,"RoomId":2,"SnapshotMode":1}`,
			`{"SdkAppId":1,"RoomId":2,"Whiteboard":5}`,
			`{"SdkAppId":1,"RoomId":2,"Label":{"A":{"B":"c"}}}`,
			`{"SdkAppId":1,"RoomId":2,"Whiteboard":{"InitParams":["4:3"]}}`}, "\n"),
			[]string{
				`line 1, column 24: RoomId is the text "12345", it must be a number without quotes`,
				"line 2, column 24: RoomId is true, it must be a number",
				"line 3, column 24: RoomId is [2], it must be a number",
				`line 4, column 24: RoomId is "1.2e3", spreadsheets shorten long numbers: format the ` +
					`column as text and save again`,
				`line 5, column 24: RoomId is "-2", it must not be negative`,
				"line 6, column 41: SnapshotMode is 1, it must be a text in quotes",
				"line 7, column 39: Whiteboard is 5, it must be an object",
				`line 8, column 39: Label.A is {"B":"c"}, it must be a text in quotes`,
				`line 9, column 53: Whiteboard.InitParams is ["4:3"], it must be a text in quotes`}},
		{"rules and duplicates",
			`{"SdkAppId":1,"RoomId":2,"Whiteboard":{"Width":2561}}` + "\n" + `{"SdkAppId":1,"RoomId":2}` + "\n" +
				`{"RoomId":2,"SdkAppId":1}`,
			[]string{"line 1, column 48: Whiteboard.Width is 2561, it must be from 0 to 2560", room(2, 2),
				"line 3, column 11: RoomId 2 of SdkAppId 1 is already on line 2"}},
		{"1 MB in one line", `{"SdkAppId":1,"RoomId":2,"Label":{"A":"` + mega + `"}}` + "\n" + `{"SdkAppId":1,"RoomId":3}`,
			[]string{"line 1: the line is longer than 128 KiB", room(2, 3)}},
		{"1 MB at the end", `{"SdkAppId":1,"RoomId":3}` + "\n{" + mega,
			[]string{room(1, 3), "line 2: the line is longer than 128 KiB"}},
		{"text that is not UTF-8", `{"SdkAppId":1,"RoomId":3}` + "\n{\"Label.A\":\"\xb8\xff\"}",
			[]string{room(1, 3),
				`line 2: the text is not UTF-8, and its encoding is not clear: name it (--encoding, or encoding= in ` +
					`a URL), or save the file as "CSV UTF-8"`}},
	})
}

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

// Errors about duplicate rooms name the first line only within the first four million lines.
func TestALongFile(t *testing.T) {
	needs.Time(t)
	blank := strings.Repeat("\n", 1<<22)
	got := read(strings.NewReader("SdkAppId,RoomId\n1,2\n"+blank+"1,3\n1,2\n1,3\n"), rooms.Options{})
	want := []string{
		`2 {"SdkAppId":1,"RoomId":2}`,
		`4194307 {"SdkAppId":1,"RoomId":3}`,
		"line 4194308, column 2: RoomId 2 of SdkAppId 1 is already on line 2",
		"line 4194309, column 2: RoomId 3 of SdkAppId 1 is already further up",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
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

// generated is a file of n rows that is generated while it is read.
type generated struct {
	row     func(b []byte, i int) []byte
	i, n    int
	pending []byte
}

func (g *generated) Read(p []byte) (int, error) {
	for len(g.pending) < len(p) && g.i < g.n {
		g.pending = g.row(g.pending, g.i)
		g.i++
	}
	if len(g.pending) == 0 {
		return 0, io.EOF
	}
	n := copy(p, g.pending)
	g.pending = append(g.pending[:0], g.pending[n:]...)
	return n, nil
}

func TestMemoryStaysFlat(t *testing.T) {
	needs.Time(t)
	scattered := func(i int) uint64 { return uint64(uint32(i+1) * 2654435769) } // the factor is odd: no room twice
	for _, tt := range []struct {
		name   string
		rows   int
		limit  uint64
		header string
		row    func(b []byte, i int) []byte
	}{
		{"2 million rows of CSV", 2_000_000, 64 << 20, "SdkAppId,RoomId,Label.Class\n", func(b []byte, i int) []byte {
			return append(strconv.AppendUint(append(b, "1400123480,"...), scattered(i), 10), ",3\n"...)
		}},
		{"200,000 lines of JSON", 200_000, 16 << 20, "\n", func(b []byte, i int) []byte {
			return append(strconv.AppendUint(append(b, `{"SdkAppId":1400123480,"RoomId":`...), scattered(i), 10), "}\n"...)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			runtime.GC()
			var before, now runtime.MemStats
			runtime.ReadMemStats(&before)
			file := io.MultiReader(strings.NewReader(tt.header), &generated{row: tt.row, n: tt.rows})
			n, peak := 0, uint64(0)
			for _, err := range rooms.Read(file, rooms.Options{}) {
				if err != nil {
					t.Fatal(err)
				}
				if n++; n%10_000 == 0 {
					runtime.ReadMemStats(&now)
					peak = max(peak, now.HeapAlloc-min(now.HeapAlloc, before.HeapAlloc))
				}
			}
			t.Logf("%d rows, %d MB of heap at most", n, peak>>20)
			if n != tt.rows || peak == 0 || peak > tt.limit {
				t.Errorf("%d rows with %d bytes of heap, want %d with at most %d", n, peak, tt.rows, tt.limit)
			}
		})
	}
	t.Run("16 MB in one quoted field", func(t *testing.T) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		block := []byte(strings.Repeat("222222222222,3\n", 1<<12))
		file := io.MultiReader(strings.NewReader("SdkAppId,RoomId\n1,\""),
			&generated{n: 256, row: func(b []byte, _ int) []byte { return append(b, block...) }})
		got := read(file, rooms.Options{})
		runtime.ReadMemStats(&after)
		if want := []string{"line 2, column 2: RoomId has a quote that is never closed, so the rest of the file " +
			"cannot be read"}; !cmp.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 8<<20 {
			t.Errorf("allocated %d MB", n>>20)
		}
	})
}
