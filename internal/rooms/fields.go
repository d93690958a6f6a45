package rooms

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"tiwsnap/tasks"
)

// field is a field of a room other than a label: a number or a text. Its functions return a pointer to the value, and
// allocate the block that contains it.
type field struct {
	name   string
	plain  string // the name as plain makes it
	min    uint64 // of the number
	number func(*tasks.Room) *uint64
	text   func(*tasks.Room) *string
	json   bool // the text is a JSON document
}

var fields = [...]field{
	{name: "SdkAppId", min: 1, number: func(r *tasks.Room) *uint64 { return &r.SdkAppId }},
	{name: "RoomId", min: 1, number: func(r *tasks.Room) *uint64 { return &r.RoomId }},
	{name: "CallbackURL", text: func(r *tasks.Room) *string { return &r.CallbackURL }},
	{name: "SnapshotMode", text: func(r *tasks.Room) *string { return &r.SnapshotMode }},
	{name: "Whiteboard.Width", number: func(r *tasks.Room) *uint64 { return made(&made(&r.Whiteboard).Width) }},
	{name: "Whiteboard.Height", number: func(r *tasks.Room) *uint64 { return made(&made(&r.Whiteboard).Height) }},
	{name: "Whiteboard.InitParams", json: true,
		text: func(r *tasks.Room) *string { return &made(&r.Whiteboard).InitParams }},
	{name: "COS.Uin", min: 1, number: func(r *tasks.Room) *uint64 { return &made(&r.COS).Uin }},
	{name: "COS.Region", text: func(r *tasks.Room) *string { return &made(&r.COS).Region }},
	{name: "COS.Bucket", text: func(r *tasks.Room) *string { return &made(&r.COS).Bucket }},
	{name: "COS.TargetDir", text: func(r *tasks.Room) *string { return &made(&r.COS).TargetDir }},
	{name: "COS.Domain", text: func(r *tasks.Room) *string { return &made(&r.COS).Domain }},
}

func init() {
	for i := range fields {
		fields[i].plain = plain(fields[i].name)
	}
}

func made[T any](p **T) *T {
	if *p == nil {
		*p = new(T)
	}
	return *p
}

const labelPrefix = "Label."

// column is the meaning of a name: a field, or the label of that name. The zero column has no name.
type column struct {
	field *field
	label string // or the name of a column that is ignored
	// ignored: what the cells say is not part of the room.
	ignored bool
}

// name returns the name of the column, empty for the zero column.
func (c column) name() string {
	switch {
	case c.ignored:
		return c.label
	case c.field != nil:
		return c.field.name
	case c.label != "":
		return labelPrefix + c.label
	}
	return ""
}

// lookup returns the column of a name and the index of its field, -1 for a label. It ignores case, spaces and
// punctuation, except in the NAME of Label.NAME.
func lookup(name []byte) (c column, index int, ok bool) {
	for i := range fields {
		if string(name) == fields[i].name {
			return column{field: &fields[i]}, i, true
		}
	}
	if label, ok := cutLabel(string(name)); ok && label != "" {
		return column{label: label}, -1, true
	}
	if len(name) > 100 {
		return column{}, -1, false
	}
	spelled := plain(string(name))
	for i := range fields {
		if spelled == fields[i].plain {
			return column{field: &fields[i]}, i, true
		}
	}
	return column{}, -1, false
}

// cutLabel cuts Label. from a name in the variants that people write.
func cutLabel(name string) (label string, ok bool) {
	if label, ok := strings.CutPrefix(name, labelPrefix); ok {
		return strings.TrimSpace(label), true
	}
	word := strings.TrimRight(labelPrefix, ".")
	if len(name) < len(word) || !strings.EqualFold(name[:len(word)], word) {
		return "", false
	}
	label = strings.TrimLeftFunc(name[len(word):], isPunctuation)
	return strings.TrimSpace(label), len(label) < len(name)-len(word)
}

// isPunctuation reports whether a rune may separate the words of a name.
func isPunctuation(c rune) bool {
	switch c = narrow(c); c {
	case '.', '_', '-', ':', '\u3002':
		return true
	}
	return unicode.IsSpace(c)
}

// narrow turns the full-width forms of Chinese keyboards into ASCII.
func narrow(c rune) rune {
	if c >= '\uff01' && c <= '\uff5e' {
		return c - '\uff01' + '!'
	}
	return c
}

// setNumber sets a field from its digits.
func (r *record) setNumber(f *field, at int, text []byte) {
	n, err := strconv.ParseUint(string(text), 10, 64)
	if err != nil {
		if digits, ok := wholeNumber(string(text)); ok {
			n, err = strconv.ParseUint(digits, 10, 64)
		}
	}
	switch {
	case err != nil:
		r.fault(at, f.name, "%s", whyNoNumber(string(text), err))
	case n < f.min:
		r.fault(at, f.name, "is %d, it must be %d or more", n, f.min)
	default:
		*f.number(&r.Room) = n
	}
}

// wholeNumber returns the digits of a whole number. It accepts the variants of spreadsheets: an apostrophe or ="7",
// which mark text, decimals of 0, and full-width digits. It rounds nothing.
func wholeNumber(s string) (digits string, ok bool) {
	s = strings.Map(narrow, s)
	if quoted, ok := strings.CutPrefix(s, `="`); ok {
		s = strings.TrimSuffix(quoted, `"`)
	}
	for _, apostrophe := range []string{"'", "\u2018", "\u2019", "`"} {
		if text, ok := strings.CutPrefix(s, apostrophe); ok {
			s = text
			break
		}
	}
	s = strings.TrimSpace(s)
	if i := strings.IndexAny(s, ".,"); i > 0 {
		zeros := s[i+1:]
		if zeros == "" || strings.Trim(zeros, "0") != "" || isGroup(s[:i], zeros) || s[i] == ',' && len(zeros) > 2 {
			return "", false
		}
		s = s[:i]
	}
	return s, isDigits(s)
}

// isGroup reports whether zeros may be a group of thousands, as in 900.000.
func isGroup(whole, zeros string) bool { return len(whole) <= 3 && len(zeros) == 3 }

func isDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// isWords reports whether the shown text of a number is something else, such as a date.
func isWords(number, look []byte) bool {
	if bytes.Equal(number, look) {
		return false
	}
	if _, err := strconv.ParseFloat(string(look), 64); err == nil {
		return false
	}
	return bytes.ContainsFunc(look, func(c rune) bool { return unicode.IsLetter(c) || c == '/' || c == ':' }) ||
		bytes.Count(look, []byte("-")) > 1
}

// setLabel sets a label. n is the expected number of labels of the row.
func (r *record) setLabel(name, value string, n int) {
	if r.Room.Label == nil {
		r.Room.Label = make(map[string]string, n)
	}
	r.Room.Label[name] = value
}

func whyNoNumber(s string, err error) string {
	_, notFloat := strconv.ParseFloat(s, 64)
	var hint string
	switch {
	case errors.Is(err, strconv.ErrRange):
		hint = "that is too large"
	case notFloat == nil && strings.HasPrefix(s, "-"):
		hint = "it must not be negative"
	case notFloat == nil && isDigits(s[:1]) && strings.ContainsAny(s, "eE"):
		hint = "spreadsheets shorten long numbers: format the column as text and save again"
	case notFloat == nil && strings.Contains(s, ".") && !strings.HasSuffix(s, "000"):
		hint = "it must be a whole number"
	case isDigits(strings.NewReplacer(",", "", ".", "", "'", "", " ", "", "\u00a0", "", "\u202f", "").Replace(s)):
		hint = "it must have no thousands separators"
	default:
		hint = "it must be a whole number"
	}
	return fmt.Sprintf("is %.40q, %s", s, hint)
}

// whyUnknown returns what to do about a name that lookup does not know. what is the format's word for a name.
func whyUnknown(what, name string) string {
	n := plain(name)
	switch n {
	case "":
		return fmt.Sprintf("%.40q is no %s, name it or delete it", name, what)
	case "label":
		return fmt.Sprintf("%.40q is not a known %s, labels are called %sNAME", name, what, labelPrefix)
	case "callback":
		return fmt.Sprintf("%.40q is not a known %s, did you mean CallbackURL", name, what)
	}
	for _, f := range fields {
		known := f.plain
		if len(n) > 2 && strings.HasSuffix(known, n) || len(n) > 3 && distance(known, n) <= 2 {
			return fmt.Sprintf("%.40q is not a known %s, did you mean %s", name, what, f.name)
		}
	}
	return fmt.Sprintf("%.40q is not a known %s, a label has a name like %s%.40s", name, what, labelPrefix, name)
}

// plain returns a name without case, punctuation and full-width forms.
func plain(name string) string {
	return strings.ToLower(strings.Map(func(c rune) rune {
		if isPunctuation(c) {
			return -1
		}
		return narrow(c)
	}, name))
}

// distance returns the Levenshtein distance of a and b in bytes, or a large number for long names.
func distance(a, b string) int {
	if len(b) > 40 {
		return len(b)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// trim removes the white space around a value, including that of Unicode.
func trim(b []byte) []byte {
	if n := len(b); n > 0 && b[0] > ' ' && b[0] < utf8.RuneSelf && b[n-1] > ' ' && b[n-1] < utf8.RuneSelf {
		return b
	}
	return bytes.TrimFunc(b, func(c rune) bool {
		switch c {
		case '\ufeff', '\u200b', '\u200e', '\u200f': // come with text from web pages, and cannot be seen
			return true
		}
		return unicode.IsSpace(c)
	})
}
