package rooms_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/iotest"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
	"golang.org/x/text/encoding/unicode"

	"tiwsnap/internal/rooms"
)

// encode returns text in an encoding.
func encode(t *testing.T, e encoding.Encoding, text string) string {
	t.Helper()
	s, err := e.NewEncoder().String(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEncodings(t *testing.T) {
	const guessed = ", as its bytes suggest; if labels look wrong, name it (--encoding, or encoding= in a URL)"
	utf16 := func(o unicode.Endianness, p unicode.BOMPolicy) encoding.Encoding { return unicode.UTF16(o, p) }
	for _, tt := range []struct {
		name  string
		with  encoding.Encoding
		label string
		note  string
	}{
		{"UTF-16 LE with a byte order mark", utf16(unicode.LittleEndian, unicode.UseBOM), "三年级 😀",
			"utf-16le, as its byte order mark says"},
		{"UTF-16 BE with a byte order mark", utf16(unicode.BigEndian, unicode.UseBOM), "三年级 😀",
			"utf-16be, as its byte order mark says"},
		{"UTF-16 LE", utf16(unicode.LittleEndian, unicode.IgnoreBOM), "三年级",
			"utf-16le, as its bytes suggest; if that is wrong, name it (--encoding, or encoding= in a URL)"},
		{"UTF-16 BE", utf16(unicode.BigEndian, unicode.IgnoreBOM), "三年级",
			"utf-16be, as its bytes suggest; if that is wrong, name it (--encoding, or encoding= in a URL)"},
		{"GBK", simplifiedchinese.GBK, "朱镕基（高二）", "gb18030" + guessed},
		{"GB18030 with four bytes", simplifiedchinese.GB18030, "三年级 😀 Ünï", "gb18030" + guessed},
		{"windows-1252, French", charmap.Windows1252, "Élève de 3ème – français", "windows-1252" + guessed},
		{"windows-1252, German", charmap.Windows1252, "Straße, Größe, Übung", "windows-1252" + guessed},
		{"windows-1252, one non-ASCII letter", charmap.Windows1252, "München 3b", "windows-1252" + guessed},
		{"windows-1252, non-ASCII at the end", charmap.Windows1252, "Café", "windows-1252" + guessed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := []string{
				fmt.Sprintf(`2 {"SdkAppId":1,"RoomId":2,"Label":{"A":%q}}`, tt.label),
				fmt.Sprintf(`3 {"SdkAppId":1,"RoomId":3,"Label":{"A":%q}}`, tt.label),
				"note: the text is read as " + tt.note}
			quoted := `"` + tt.label + `"`
			file := encode(t, tt.with, "SdkAppId,RoomId,Label.A\r\n1,2,"+quoted+"\r\n1,3,"+quoted)
			checkLines(t, want, readWithNotes(strings.NewReader(file), rooms.Options{}))
			checkLines(t, want, readWithNotes(iotest.OneByteReader(strings.NewReader(file)), rooms.Options{}))

			lines := `{"SdkAppId":1,"RoomId":2,"Label":{"A":` + quoted + "}}\n"
			want = []string{strings.Replace(want[0], "2", "1", 1), want[2]}
			checkLines(t, want, readWithNotes(strings.NewReader(encode(t, tt.with, lines)), rooms.Options{}))
		})
	}

	t.Run("non-ASCII after much ASCII", func(t *testing.T) {
		var file strings.Builder
		file.WriteString("SdkAppId,RoomId,Label.A\n")
		for i := range 50_000 {
			fmt.Fprintf(&file, "1,%d,a\n", i+1)
		}
		file.WriteString(encode(t, simplifiedchinese.GBK, "1,100000,三年级\n"))
		got := readWithNotes(strings.NewReader(file.String()), rooms.Options{})
		checkLines(t, []string{`50002 {"SdkAppId":1,"RoomId":100000,"Label":{"A":"三年级"}}`,
			"note: the text is read as gb18030" + guessed}, got[50_000:])
	})

	const header = "SdkAppId,RoomId,Label.A\n"
	for _, tt := range []struct {
		name, file, encoding string
		want                 []string
	}{
		{"an explicit encoding", encode(t, traditionalchinese.Big5, header+"1,2,三年級一班\n"), "Big5", []string{
			`2 {"SdkAppId":1,"RoomId":2,"Label":{"A":"三年級一班"}}`}},
		{"a code page number", encode(t, simplifiedchinese.GBK, header+"1,2,三\n"), "CP936", []string{
			`2 {"SdkAppId":1,"RoomId":2,"Label":{"A":"三"}}`}},
		{"a byte order mark overrides the explicit encoding", "\ufeff" + header + "1,2,三\n", "gbk",
			[]string{`2 {"SdkAppId":1,"RoomId":2,"Label":{"A":"三"}}`,
				"note: the text is read as utf-8, as its byte order mark says, not as gbk"}},
		{"explicit UTF-8 with invalid bytes", header + "1,1,a\n1,2,\xe9\n", "utf-8", []string{
			`2 {"SdkAppId":1,"RoomId":1,"Label":{"A":"a"}}`,
			`line 3: the text is not UTF-8: name it (--encoding, or encoding= in a URL), or save the file as "CSV UTF-8"`}},
		{"bytes that are invalid in the encoding", header + "1,2,\xc8\xfd\n1,3,\xff\n", "gb18030", []string{
			`2 {"SdkAppId":1,"RoomId":2,"Label":{"A":"三"}}`,
			"line 3: the text is not gb18030 as a whole: name it (--encoding, or encoding= in a URL)"}},
		{"an unpaired surrogate in UTF-16", "\xff\xfe" + encode(t, utf16(unicode.LittleEndian, unicode.IgnoreBOM),
			header+"1,2,") + "\x3d\xd8\n\x00", "",
			[]string{"line 2: the text is not utf-16le as a whole: name it (--encoding, or encoding= in a URL)",
				"note: the text is read as utf-16le, as its byte order mark says"}},
		{"Big5 is not detected", encode(t, traditionalchinese.Big5, header+"1,2,三年級一班\n"), "", []string{unclearEncoding}},
		{"Shift JIS is not detected", encode(t, japanese.ShiftJIS, header+"1,2,三年一組\n"), "", []string{unclearEncoding}},
		{"Cyrillic is not detected", encode(t, charmap.Windows1251, header+"1,2,Математика\n"), "", []string{
			unclearEncoding}},
		{"UTF-32", "\xff\xfe\x00\x00R\x00\x00\x00", "", []string{`the file is UTF-32 text: save it as "CSV UTF-8"`}},
		{"UTF-8 at first, later invalid", header + "1,2,é\n" + strings.Repeat(" \n", 64<<10) + "1,3,\xe9\n", "", []string{
			`2 {"SdkAppId":1,"RoomId":2,"Label":{"A":"é"}}`,
			`line 65539: the text is not UTF-8: name it (--encoding, or encoding= in a URL), or save the file as "CSV UTF-8"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, err := rooms.ParseEncoding(tt.encoding)
			if err != nil {
				t.Fatal(err)
			}
			checkLines(t, tt.want, readWithNotes(strings.NewReader(tt.file), rooms.Options{Encoding: e}))
		})
	}
	if _, err := rooms.ParseEncoding("klingon"); err == nil || !strings.Contains(err.Error(),
		`"klingon" is not a known encoding`) {
		t.Errorf("ParseEncoding(klingon) = %v, want an error", err)
	}
}

const unclearEncoding = `line 2: the text is not UTF-8, and its encoding is not clear: name it (--encoding, or ` +
	`encoding= in a URL), or save the file as "CSV UTF-8"`
