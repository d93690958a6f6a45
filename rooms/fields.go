package rooms

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"tiwsnap/tasks"
)

// field is a field of a room other than a label: a number or a text. The
// functions return where it lives, and make the block that it lives in.
type field struct {
	name   string
	min    uint64 // of the number
	number func(*tasks.Room) *uint64
	text   func(*tasks.Room) *string
}

var fields = [...]field{
	{name: "SdkAppId", min: 1, number: func(r *tasks.Room) *uint64 { return &r.SdkAppId }},
	{name: "RoomId", min: 1, number: func(r *tasks.Room) *uint64 { return &r.RoomId }},
	{name: "CallbackURL", text: func(r *tasks.Room) *string { return &r.CallbackURL }},
	{name: "SnapshotMode", text: func(r *tasks.Room) *string { return &r.SnapshotMode }},
	{name: "Whiteboard.Width", number: func(r *tasks.Room) *uint64 { return made(&made(&r.Whiteboard).Width) }},
	{name: "Whiteboard.Height", number: func(r *tasks.Room) *uint64 { return made(&made(&r.Whiteboard).Height) }},
	{name: "Whiteboard.InitParams", text: func(r *tasks.Room) *string { return &made(&r.Whiteboard).InitParams }},
	{name: "COS.Uin", min: 1, number: func(r *tasks.Room) *uint64 { return &made(&r.COS).Uin }},
	{name: "COS.Region", text: func(r *tasks.Room) *string { return &made(&r.COS).Region }},
	{name: "COS.Bucket", text: func(r *tasks.Room) *string { return &made(&r.COS).Bucket }},
	{name: "COS.TargetDir", text: func(r *tasks.Room) *string { return &made(&r.COS).TargetDir }},
	{name: "COS.Domain", text: func(r *tasks.Room) *string { return &made(&r.COS).Domain }},
}

func made[T any](p **T) *T {
	if *p == nil {
		*p = new(T)
	}
	return *p
}

const labelPrefix = "Label."

// column is what a name stands for: a field, or the label of that name.
type column struct {
	field *field
	label string
}

func (c column) name() string {
	if c.field == nil {
		return labelPrefix + c.label
	}
	return c.field.name
}

// lookup returns the column with exactly that name. The index is that of its
// field, -1 for a label.
func lookup(name []byte) (c column, index int, ok bool) {
	for i := range fields {
		if string(name) == fields[i].name {
			return column{field: &fields[i]}, i, true
		}
	}
	if label, ok := bytes.CutPrefix(name, []byte(labelPrefix)); ok && len(label) > 0 {
		return column{label: string(label)}, -1, true
	}
	return column{}, -1, false
}

// setNumber sets a field from its digits.
func (r *record) setNumber(f *field, at int, digits []byte) {
	n, err := strconv.ParseUint(string(digits), 10, 64)
	switch {
	case err != nil:
		r.fault(at, f.name, "%s", whyNoNumber(string(digits), err))
	case n < f.min:
		r.fault(at, f.name, "is %d, it must be %d or more", n, f.min)
	default:
		*f.number(&r.Room) = n
	}
}

// setLabel sets a label. n is how many the row may have, as far as is known.
func (r *record) setLabel(name, value string, n int) {
	if r.Room.Label == nil {
		r.Room.Label = make(map[string]string, n)
	}
	r.Room.Label[name] = value
}

func whyNoNumber(s string, err error) string {
	_, notFloat := strconv.ParseFloat(s, 64)
	isDigits := func(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
	var hint string
	switch {
	case errors.Is(err, strconv.ErrRange):
		hint = "that is too large"
	case notFloat == nil && strings.HasPrefix(s, "-"):
		hint = "it must not be negative"
	case notFloat == nil && isDigits(s[:1]) && strings.ContainsAny(s, "eE"):
		hint = "spreadsheets shorten long numbers like that: format the column as text and save the file again"
	case notFloat == nil && strings.Contains(s, "."):
		hint = "it must have no decimal point"
	case isDigits(strings.NewReplacer(",", "", ".", "", "'", "", " ", "", "\u00a0", "", "\u202f", "").Replace(s)):
		hint = "it must have no thousands separators"
	default:
		hint = "it must be a whole number"
	}
	return fmt.Sprintf("is %.40q, %s", s, hint)
}

// whyUnknown says what to do about a name that lookup does not know. what is
// the format's own word for it.
func whyUnknown(what, name string) string {
	n := plain(name)
	switch n {
	case "":
		return fmt.Sprintf("%.40q is no %s, name it or delete it", name, what)
	case "label":
		return fmt.Sprintf("%.40q is no known %s, labels are called %sNAME", name, what, labelPrefix)
	case "callback":
		return fmt.Sprintf("%.40q is no known %s, did you mean CallbackURL", name, what)
	}
	if label, ok := strings.CutPrefix(n, "label"); ok && label != "" {
		if rest := strings.TrimLeft(name[len("label"):], " ._-:"); strings.EqualFold(name[:len("label")], "label") && rest != "" {
			return fmt.Sprintf("%.40q is no known %s, did you mean %s%.40s", name, what, labelPrefix, rest)
		}
	}
	for _, f := range fields {
		known := plain(f.name)
		if known == n || len(n) > 2 && strings.HasSuffix(known, n) || len(n) > 3 && distance(known, n) <= 2 {
			return fmt.Sprintf("%.40q is no known %s, did you mean %s", name, what, f.name)
		}
	}
	return fmt.Sprintf("%.40q is no known %s, give your own words a name like %s%.40s", name, what, labelPrefix, name)
}

// plain is a name without what people vary: case and punctuation.
func plain(name string) string {
	return strings.ToLower(strings.Map(func(c rune) rune {
		if strings.ContainsRune(" ._-:", c) {
			return -1
		}
		return c
	}, name))
}

// distance is how many bytes must be added, dropped or changed to make b of a
// (Levenshtein), or some large number for long names.
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

// trim drops the blanks around a value, also those that only Unicode knows.
func trim(b []byte) []byte {
	if n := len(b); n > 0 && b[0] > ' ' && b[0] < utf8.RuneSelf && b[n-1] > ' ' && b[n-1] < utf8.RuneSelf {
		return b
	}
	return bytes.TrimSpace(b)
}
