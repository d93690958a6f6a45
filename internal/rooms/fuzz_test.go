package rooms_test

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/unicode"

	"tiwsnap/internal/rooms"
	"tiwsnap/tasks"
)

// splitLines splits a file at LF, CRLF and CR.
func splitLines(file string) []string {
	return strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(file), "\n")
}

// readAll returns the valid rows of a file, and checks properties that hold for every file.
func readAll(t *testing.T, file string, defaults tasks.Room) []rooms.Row {
	var valid []rooms.Row
	seen := make(map[[2]uint64]bool)
	last, ended := 0, false
	several := strings.HasPrefix(strings.TrimLeft(file, "\ufeff\r\n\t "), "[") || strings.ContainsAny(file,
		"\x00{") // several rooms may be on one line
	inFile := func(line int) bool {
		return (line > last || several && line == last) && (line <= len(splitLines(file)) || strings.HasPrefix(file, "PK"))
	}
	note := func(n rooms.Note) {
		if n.Line < 0 || n.Text == "" || !strconv.CanBackquote(strings.ReplaceAll(n.Text, "`", "")) {
			t.Errorf("invalid note %#v", n)
		}
	}
	for row, err := range rooms.Read(strings.NewReader(file), rooms.Options{Defaults: defaults, Notes: note}) {
		if ended {
			t.Fatalf("got %v, %v after the FileError", row, err)
		}
		var rowErr *rooms.RowError
		var fileErr *rooms.FileError
		switch {
		case err == nil:
			room := row.Room.Over(defaults)
			if err := room.Validate(); err != nil {
				t.Errorf("the row of line %d is invalid: %v", row.Line, err)
			}
			if id := [2]uint64{room.SdkAppId, room.RoomId}; seen[id] {
				t.Errorf("line %d: room %v is a duplicate", row.Line, id)
			} else {
				seen[id] = true
			}
			valid = append(valid, row)
		case errors.As(err, &rowErr):
			if len(rowErr.Faults) == 0 || rowErr.Line != row.Line {
				t.Errorf("row %v has the error %#v, want faults and the same line", row, rowErr)
			}
			for _, f := range rowErr.Faults {
				if f.Column < 0 || f.Column > max(3*len(file), 1<<14) || f.Reason == "" {
					t.Errorf("invalid fault %#v", f)
				}
			}
		case errors.As(err, &fileErr):
			if ended = true; fileErr.Line != 0 && !inFile(fileErr.Line) && fileErr.Line != last {
				t.Errorf("got line %d after line %d: %v", fileErr.Line, last, err)
			}
			continue
		default:
			t.Fatalf("got the error %#v, want a RowError or FileError", err)
		}
		if !inFile(row.Line) {
			t.Errorf("got line %d after line %d of %d", row.Line, last, len(splitLines(file)))
		}
		last = row.Line
	}
	return valid
}

// FuzzFile reads arbitrary bytes.
func FuzzFile(f *testing.F) {
	for _, file := range []string{
		"", "\n", "\ufeff", "SdkAppId,RoomId\n1,2\n", "SdkAppId;RoomId;COS.Uin\r\n1;2;3\r\n", "RoomId\tLabel.\t\r",
		"\xff\xfe", "[", "{", "{}\n{\"RoomId\":2}",
		"sep=;\nSdkAppId;RoomId\n1;2\n", "Title\n\nsdk_app_id,ROOM ID,,\n'1,2.0,,\nRoomId,SdkAppId\n３,1\n",
		"RoomId,Label.A\n1,\xc8\xfd\xc4\xea\n", "RoomId,Label.A\n1,Caf\xe9\n",
		"R\x00o\x00o\x00m\x00I\x00d\x00\n\x001\x00\n\x00", "\xfe\xff\x00R", "[\n{\"RoomId\":1},\n{\"RoomId\":2\n}]",
		"{\n\"RoomId\":1}\n{\"RoomId\":[}", "<html>", "PK\x03\x04",
		"RoomId,SdkAppId,SnapshotMode,Whiteboard.Width,Whiteboard.Height,Whiteboard.InitParams," +
			"COS.Uin,COS.Region,COS.Bucket,COS.TargetDir,COS.Domain,Label.A\n" +
			"1,2,AllMarks,3,4,{},5,r,b,t,d,a\n",
	} {
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, file string) {
		readAll(t, file, tasks.Room{})
		readAll(t, file, tasks.Room{SdkAppId: 1, COS: &tasks.COS{Bucket: "b"}, Label: map[string]string{"A": "x"}})
	})
}

// letterOrDrop drops the characters that are ignored in the name of a column.
func letterOrDrop(c rune) rune {
	if c >= '\uff01' && c <= '\uff5e' {
		c += '!' - '\uff01'
	}
	if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '\n' {
		return c
	}
	return -1
}

// FuzzCSV compares the rows with those of encoding/csv, also after errors.
func FuzzCSV(f *testing.F) {
	for i, rows := range []string{
		"2,a\n3,b\n", "2,\"a\"\"b\n,c\"\n\n3,\"\"\n", " 2 , a \n\"3\",x", "2,a\"b\n3,\"a\"b\n4,c\n", "2,\"a\nb\"c\n3,\n",
		"2,\"a\n3,\n", "2;\"a;b\"\n2;c\n",
		"3\t\n", ",\n \n2,\n2\n2,,\n", "0,\n-1,\n4294967296,\n1e3,\n", "\"2\nx\",\n\"\n3\",a\n",
		"2,\"\"\"\"\n3,\"\"a\n4,\"\"\"\n",
	} {
		f.Add(uint8(i), rows)
	}
	f.Fuzz(func(t *testing.T, d uint8, rows string) {
		delim := rune(",;\t"[d%3])
		file := "RoomId" + string(delim) + "Label.A\n" + rows
		got := readAll(t, file, tasks.Room{SdkAppId: 1})
		if strings.Contains(rows, "\r") || !utf8.ValidString(rows) || len(rows) > 60_000 {
			return // encoding/csv does not support a lone CR and has no limits
		}
		if strings.Contains(strings.ToLower(strings.Map(letterOrDrop, rows)), "roomid") {
			return // encoding/csv does not know a second header
		}
		byLine := make(map[int]rooms.Row)
		for _, row := range got {
			byLine[row.Line] = row
		}
		var want []rooms.Row
		seen := make(map[uint64]bool)
		std := csv.NewReader(strings.NewReader(file))
		std.Comma, std.FieldsPerRecord = delim, -1
		for {
			fields, err := std.Read()
			if err == io.EOF {
				break
			}
			for len(fields) > 2 && strings.TrimSpace(fields[len(fields)-1]) == "" {
				fields = fields[:len(fields)-1]
			}
			if err != nil || len(fields) != 2 {
				continue
			}
			id, err := strconv.ParseUint(strings.TrimSpace(fields[0]), 10, 64)
			if line, _ := std.FieldPos(0); err != nil {
				id = byLine[line].Room.RoomId // such as '7 and 7.0, or 0
			}
			if id < 1 || len(fields[1]) > tasks.MaxLabel || strings.Contains(fields[1], "\x00") || seen[id] {
				continue
			}
			seen[id] = true
			line, _ := std.FieldPos(0)
			row := rooms.Row{Line: line, Room: tasks.Room{RoomId: id}}
			if fields[1] != "" {
				row.Room.Label = map[string]string{"A": fields[1]}
			}
			want = append(want, row)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

// FuzzJSON compares the valid rows with those of encoding/json.
func FuzzJSON(f *testing.F) {
	for _, file := range []string{
		`{"SdkAppId":1,"RoomId":2}` + "\r\n\n" + `{"SdkAppId":1,"RoomId":3,"Label":{"a":"b\n\u00e9\\"}}`,
		`{"SdkAppId":1,"RoomId":2,"Whiteboard":{"Width":0,"InitParams":"{\"a\":[1,{\"b\":\"}\"}]}"},` +
			`"COS":{"Uin":1,"Region":"r","Bucket":"b"}}`,
		`{"SdkAppId":1,"RoomId":2,"Label.a":"b","COS":null,"Label":{},"Whiteboard.Height":7}`,
		`{ "SdkAppId" : 1 , "Room\u0049d" : 2 } ` + "\r" + `{"RoomId":"2","x":[{"]":1}],"RoomId":2e1}`,
		`{"SdkAppId":1,"RoomId":2,"Label":{"\ud800":"\ud83d\ude00"}}` + "\n" + `{"a":1}{}` + "\n" + `[1]` + "\n" + `5`,
	} {
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, file string) {
		file = `{"SdkAppId":1,"RoomId":1}` + "\n" + file
		text := splitLines(file)
		for _, row := range readAll(t, file, tasks.Room{}) {
			line := text[row.Line-1]
			if strings.Contains(line, ".") || strings.Contains(line, "null") || strings.Contains(line, `"COS"`) {
				continue // dotted names, and missing values that encoding/json treats in another way
			}
			var want tasks.Room
			dec := json.NewDecoder(strings.NewReader(line))
			dec.DisallowUnknownFields()
			if err := dec.Decode(&want); err != nil && (strings.Contains(err.Error(),
				"InitParams") || strings.Contains(err.Error(), "unknown field")) {
				continue // only this package accepts an object instead of a text, and other spellings of a name
			} else if err != nil {
				t.Fatalf("encoding/json rejects line %d: %v", row.Line, err)
			}
			if len(want.Label) == 0 {
				want.Label = nil
			}
			if w := want.Whiteboard; w != nil {
				if w.InitParams = strings.TrimSpace(w.InitParams); *w == (tasks.Whiteboard{}) {
					want.Whiteboard = nil
				}
			}
			want.SnapshotMode = strings.TrimSpace(want.SnapshotMode)
			if row.Room.Whiteboard != nil && *row.Room.Whiteboard == (tasks.Whiteboard{}) {
				row.Room.Whiteboard = nil
			}
			if diff := cmp.Diff(want, row.Room); diff != "" {
				t.Errorf("line %d (-want +got):\n%s", row.Line, diff)
			}
		}
	})
}

// FuzzJSONArray compares an array, on one line and indented, with the same rooms as JSON lines.
func FuzzJSONArray(f *testing.F) {
	f.Add(`{"SdkAppId":1,"RoomId":2}` + "\n" + `{"SdkAppId":1,"RoomId":3,"Label":{"a":"]},[{\""}}`)
	f.Add(`{"SdkAppId":1,"RoomId":2,"Whiteboard":{"InitParams":{"a":[1, 2]}}}` + "\n" +
		`{"SdkAppId":1,"RoomId":-1}` + "\n5\n[]\ntrue")
	f.Fuzz(func(t *testing.T, file string) {
		file = `{"SdkAppId":1,"RoomId":1}` + "\n" + file
		var values []string
		for _, line := range splitLines(file) {
			if line = strings.Trim(line, " \t"); line != "" && !json.Valid([]byte(line)) || len(line) > rooms.MaxRowBytes {
				return
			} else if line != "" {
				values = append(values, line)
			}
		}
		if !utf8.ValidString(file) || strings.Contains(file, "\ufeff") {
			return
		}
		roomsOf := func(file string) (all []tasks.Room) {
			for _, row := range readAll(t, file, tasks.Room{}) {
				all = append(all, row.Room)
			}
			return all
		}
		want := roomsOf(strings.Join(values, "\n"))
		for _, array := range []string{
			"[" + strings.Join(values, ",") + "]", " [\r\n  " + strings.Join(values, " ,\r\n  ") + "\r\n]\r\n",
			"{" + "\n" + strings.Join(values, "\n")[1:],
		} {
			if diff := cmp.Diff(want, roomsOf(array)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", array, diff)
			}
		}
	})
}

// FuzzEncodings compares a list in several encodings with the same list in UTF-8.
func FuzzEncodings(f *testing.F) {
	for _, file := range []string{
		"SdkAppId,RoomId,Label.A\r\n1,2,三年级\r\n1,3,\"x\ny\"\r\n", `{"SdkAppId":1,"RoomId":2,"Label":{"A":"😀"}}`,
		"Ünï\nRoomId;Label.é\n1;ß",
		"[\n{\"SdkAppId\":1,\n\"RoomId\":2},\n{\"SdkAppId\":1,\"RoomId\":3,\"Label\":{\"A\":\"三\"}}]",
	} {
		f.Add(file)
	}
	utf16 := func(e unicode.Endianness) encoding.Encoding { return unicode.UTF16(e, unicode.UseBOM) }
	f.Fuzz(func(t *testing.T, file string) {
		if !utf8.ValidString(file) || strings.ContainsAny(file, "\x00\ufeff\ufffd") {
			return
		}
		o := rooms.Options{Defaults: tasks.Room{SdkAppId: 1}}
		o.Encoding, _ = rooms.ParseEncoding("utf-8")
		want := read(strings.NewReader(file), o)
		if strings.HasPrefix(want[0], "the file is ") {
			return // the first bytes decide the format
		}
		for name, e := range map[string]encoding.Encoding{
			"utf-8": encoding.Nop, "utf-16le": utf16(unicode.LittleEndian), "utf-16be": utf16(unicode.BigEndian),
			"gb18030": simplifiedchinese.GB18030,
		} {
			text, err := e.NewEncoder().String(file)
			if back, _ := e.NewDecoder().String(text); err != nil || back != file {
				continue // the GB18030 of x/text lacks a few characters
			}
			o.Encoding, _ = rooms.ParseEncoding(name)
			if diff := cmp.Diff(want, read(strings.NewReader(text), o)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
		o.Encoding = rooms.Encoding{}
		if diff := cmp.Diff(want, read(strings.NewReader(file), o)); diff != "" {
			t.Errorf("detected encoding (-want +got):\n%s", diff)
		}
	})
}

// FuzzWorkbook reads arbitrary text as the sheet and as the shared strings of a workbook.
func FuzzWorkbook(f *testing.F) {
	book := workbook(f, [][]any{header, {1, 2, "x"}})
	const texts = `<sst><si><t>SdkAppId</t></si><si><t>RoomId</t></si><si><r><t>Label.</t></r><r><t>A</t></r></si></sst>`
	for _, sheet := range []string{
		sheetXML + "</sheetData></worksheet>", sheetXML,
		`<worksheet><sheetData><row r="3"><c r="A3" t="s"><v>0</v></c><c r="B3" t="s"><v>1</v></c></row>` +
			`<row><c r="ZZ4"><v>1</v></c></row></sheetData></worksheet>`,
		`<worksheet><sheetData><row><c t="s"><v>1</v></c><c t="s"><v>2</v></c></row>` +
			`<row><c t="b"><v>1</v></c><c t="e" s="9"><f>A1</f><v>-1</v></c></row></sheetData></worksheet>`,
	} {
		f.Add(sheet, texts)
	}
	f.Fuzz(func(t *testing.T, sheet, texts string) {
		file := replaceParts(t, book, map[string][]byte{"xl/worksheets/sheet1.xml": []byte(sheet),
			"xl/sharedStrings.xml": []byte(texts)})
		readAll(t, string(file), tasks.Room{SdkAppId: 1})
	})
}
