package rooms

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// Encoding is the character encoding of a class list. The zero value makes Read recognise it.
type Encoding struct {
	name  string
	table encoding.Encoding // nil for UTF-8
}

var (
	utf8Text    = Encoding{name: "utf-8"}
	utf16le     = Encoding{"utf-16le", unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM)}
	utf16be     = Encoding{"utf-16be", unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM)}
	gb18030     = Encoding{"gb18030", simplifiedchinese.GB18030}
	windows1252 = Encoding{"windows-1252", charmap.Windows1252}
)

// windowsNames are names of Windows code pages that are not in the WHATWG standard.
var windowsNames = map[string]string{
	"utf16": "utf-16le", "utf16le": "utf-16le", "utf16be": "utf-16be", "cp65001": "utf-8",
	"cp936": "gbk", "cp950": "big5", "cp932": "shift-jis", "cp949": "euc-kr",
}

// ParseEncoding returns the encoding of a name such as utf-8, utf-16le, gb18030, gbk, big5 or windows-1252. It accepts
// the names of the WHATWG standard and of Windows code pages, in any case. The empty name is the zero Encoding.
func ParseEncoding(name string) (Encoding, error) {
	label := strings.ReplaceAll(strings.ToLower(strings.TrimSpace(name)), "_", "-")
	if label == "" {
		return Encoding{}, nil
	}
	if known, ok := windowsNames[label]; ok {
		label = known
	}
	table, err := htmlindex.Get(label)
	if err != nil {
		return Encoding{}, fmt.Errorf("%.40q is not a known encoding: it must be one such as "+
			"utf-8, utf-16le, gb18030, big5, shift_jis, euc-kr or windows-1252", name)
	}
	switch canonical, _ := htmlindex.Name(table); canonical {
	case "utf-8":
		return utf8Text, nil
	case "utf-16le":
		return utf16le, nil
	case "utf-16be":
		return utf16be, nil
	case "gbk":
		return Encoding{canonical, gb18030.table}, nil // has all of GBK
	default:
		return Encoding{canonical, table}, nil
	}
}

// Text returns a reader that converts a text to UTF-8 without a byte order mark. notes, unless nil, is called with the
// encoding that was recognised. If the encoding is not clear, reading ends with a *FileError.
func Text(r io.Reader, e Encoding, notes func(Note)) io.Reader {
	return newDecoder(bufio.NewReaderSize(r, textWindow), e, noter(notes))
}

// nameEncoding says in errors and notes how a person can set the encoding.
const nameEncoding = "name it (--encoding, or encoding= in a URL)"

// textWindow is how many bytes decide on the encoding, from the first that is not ASCII.
const textWindow = 64 << 10

// decoder converts a text to UTF-8. The byte order mark decides on the encoding, then the requested encoding, then the
// bytes themselves. ASCII is passed on without a decision, so the first other byte may come anywhere.
type decoder struct {
	in     *bufio.Reader
	text   io.Reader // in UTF-8; nil while the encoding is not known
	from   Encoding
	failed error
	note   func(line int, format string, args ...any)
}

func newDecoder(in *bufio.Reader, asked Encoding, note func(int, string, ...any)) *decoder {
	d := &decoder{in: in, note: note}
	head, _ := in.Peek(1024)
	mark, size := byteOrderMark(head)
	switch {
	case size > 0:
		in.Discard(size)
		if asked.name != "" && asked.name != mark.name {
			note(0, "the text is read as %s, as its byte order mark says, not as %s", mark.name, asked.name)
		} else if mark.table != nil {
			note(0, "the text is read as %s, as its byte order mark says", mark.name)
		}
		d.decode(mark)
	case asked.name != "":
		d.decode(asked)
	default:
		if wide, ok := wideText(head); ok {
			note(0, "the text is read as %s, as its bytes suggest; if that is wrong, %s", wide.name, nameEncoding)
			d.decode(wide)
		}
	}
	return d
}

// decode reads the rest of the text in an encoding.
func (d *decoder) decode(from Encoding) {
	d.from, d.text = from, d.in
	if from.table != nil {
		d.text = transform.NewReader(d.in, from.table.NewDecoder())
	}
}

func (d *decoder) Read(p []byte) (int, error) {
	for d.text == nil {
		if d.failed != nil {
			return 0, d.failed
		}
		if _, err := d.in.Peek(1); err != nil {
			return 0, err
		}
		data, _ := d.in.Peek(min(d.in.Buffered(), len(p)))
		if n := ascii(data); n > 0 {
			copy(p, data[:n])
			return d.in.Discard(n)
		}
		d.recognise()
	}
	return d.text.Read(p)
}

// recognise decides on the encoding by the next bytes.
func (d *decoder) recognise() {
	window, err := d.in.Peek(textWindow)
	if err != nil && err != io.EOF && len(window) == 0 {
		return // Read will find the same
	}
	switch {
	case looksUTF8(window, err != nil):
		d.decode(utf8Text)
		return
	case looksGB18030(window):
		d.decode(gb18030)
	case looksWindows1252(window):
		d.decode(windows1252)
	case bytes.IndexByte(window, 0) >= 0:
		d.failed = fileError(0, noText)
		return
	default:
		d.failed = fileError(0, `the text is not UTF-8, and its encoding is not clear: `+nameEncoding+
			`, or save the file as "CSV UTF-8"`)
		return
	}
	d.note(0, "the text is read as %s, as its bytes suggest; if labels look wrong, %s", d.from.name, nameEncoding)
}

// ascii returns the number of ASCII bytes at the start of the data.
func ascii(data []byte) int {
	for i, b := range data {
		if b >= utf8.RuneSelf {
			return i
		}
	}
	return len(data)
}

func byteOrderMark(head []byte) (e Encoding, size int) {
	switch {
	case bytes.HasPrefix(head, []byte("\xef\xbb\xbf")):
		return utf8Text, 3
	case bytes.HasPrefix(head, []byte("\xff\xfe")):
		return utf16le, 2
	case bytes.HasPrefix(head, []byte("\xfe\xff")):
		return utf16be, 2
	}
	return Encoding{}, 0
}

// wideText recognises UTF-16 without a byte order mark. The header and the numbers of a list are ASCII, so every other
// byte is 0.
func wideText(head []byte) (Encoding, bool) {
	var zeros [2]int
	for i, b := range head {
		if b == 0 {
			zeros[i%2]++
		}
	}
	switch enough := len(head)/4 + 1; {
	case zeros[0] == 0 && zeros[1] >= enough:
		return utf16le, true
	case zeros[1] == 0 && zeros[0] >= enough:
		return utf16be, true
	}
	return Encoding{}, false
}

// looksUTF8 reports whether the window is UTF-8. Its last rune may be cut, unless the window is the end of the text.
func looksUTF8(window []byte, end bool) bool {
	for n := 1; !end && n < utf8.UTFMax && n <= len(window); n++ {
		if tail := window[len(window)-n:]; utf8.RuneStart(tail[0]) {
			if !utf8.FullRune(tail) {
				window = window[:len(window)-n]
			}
			break
		}
	}
	return utf8.Valid(window)
}

// looksGB18030 reports whether the window can be GB18030 (or its subset GBK), and at least half of it are the 3755
// common Chinese characters (level 1 of GB 2312), their punctuation, or full-width letters. Western text almost never
// matches, because ASCII follows a letter with an accent.
func looksGB18030(window []byte) bool {
	pairs, everyday := 0, 0
	for i := ascii(window); i < len(window); i += 1 + ascii(window[i+1:]) {
		lead := window[i]
		if lead == 0x80 || lead == 0xff {
			return false
		}
		if i+1 == len(window) {
			break
		}
		switch trail := window[i+1]; {
		case trail >= '0' && trail <= '9': // of four bytes
			if i += 3; i >= len(window) {
				return pairs > 0 && 2*everyday >= pairs
			}
			if window[i-1] < 0x81 || window[i] < '0' || window[i] > '9' {
				return false
			}
		case trail < 0x40 || trail == 0x7f || trail == 0xff:
			return false
		default:
			pairs++
			if trail >= 0xa1 && (lead >= 0xb0 && lead <= 0xd7 || lead == 0xa1 || lead == 0xa3) {
				everyday++
			}
			i++
		}
	}
	return pairs > 0 && 2*everyday >= pairs
}

// looksWindows1252 reports whether the window can be windows-1252 and is western text: most bytes beyond ASCII are
// letters, and few of them are adjacent.
func looksWindows1252(window []byte) bool {
	high, letters, runs := 0, 0, 0
	before := byte(0)
	for _, b := range window {
		if b >= 0x80 {
			high++
			if bytes.IndexByte([]byte("\x81\x8d\x8f\x90\x9d"), b) >= 0 {
				return false // nothing there
			}
			if b >= 0xc0 && b != 0xd7 && b != 0xf7 {
				letters++
			}
			if before < 0x80 {
				runs++
			}
		}
		before = b
	}
	return 2*letters >= high && 2*runs > high
}
