package rooms

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// jsonRows parses JSON objects, one room each. encoding/json checks an object. It reports neither duplicate names nor
// the position of unknown ones, so the valid object is then parsed by hand.
type jsonRows struct {
	text []byte // the object at hand
	name []byte // scratch
	seen uint   // the fields that it has set, by index
	note func(line int, format string, args ...any)

	result bool // the object is a row of a result list, for which there was a note
	inner  bool // it is the room of such an object
}

// jsonLines parses one object a line.
type jsonLines struct {
	jsonRows
	lines *lines
}

func (j *jsonLines) next(rec *record) error {
	l := j.lines
	for {
		if err := l.next(); err != nil {
			return err
		}
		if l.more || len(trim(l.text)) > 0 {
			break
		}
	}
	rec.Line = l.n
	if l.more {
		rec.syntax(0, "", "the line is longer than %d KiB", MaxRowBytes>>10)
		return l.skip()
	}
	j.parse(rec, l.text)
	return nil
}

// parse sets the room of the object in the text.
func (j *jsonRows) parse(rec *record, text []byte) {
	j.text, j.seen, rec.places = text, 0, rec.places[:0]
	start := skipSpace(text, 0)
	switch {
	case !json.Valid(text):
		err, at := json.Unmarshal(text, new(json.RawMessage)), 0
		if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
			at = int(syntax.Offset)
		}
		rec.syntax(at, "", "the line is not one whole JSON object: %v", err)
	case text[start] != '{':
		rec.syntax(start+1, "", "the line is %s, it must be a JSON object", quote(text[start:]))
	default:
		room, ok := j.resultRoom(start)
		if j.inner = ok; ok {
			start = room
			if !j.result {
				j.note(0, `the file is a result list: only "room" is read; %s`, noCallback)
				j.result = true
			}
		}
		j.object(rec, "", start)
	}
}

// resultRoom returns the position of the room of a result: the member "room" of the object at i.
func (j *jsonRows) resultRoom(i int) (at int, ok bool) {
	text := j.text
	if !bytes.Contains(text, []byte(`"room"`)) {
		return 0, false
	}
	for i++; ; i++ {
		if i = skipSpace(text, i); text[i] == '}' {
			return 0, false
		}
		end := skipValue(text, i)
		isRoom := string(text[i:end]) == `"room"`
		at := skipSpace(text, skipSpace(text, end)+1)
		if isRoom {
			return at, text[at] == '{'
		}
		if i = skipSpace(text, skipValue(text, at)); text[i] == '}' {
			return 0, false
		}
	}
}

// object parses the members of the object at i. Their names get the prefix.
func (j *jsonRows) object(rec *record, prefix string, i int) {
	text := j.text
	for i++; ; i++ {
		if i = skipSpace(text, i); text[i] == '}' {
			return
		}
		end := skipValue(text, i)
		key := unquote(text[i:end])
		at := skipSpace(text, skipSpace(text, end)+1)
		end = skipValue(text, at)
		j.member(rec, prefix, key, at, text[at:end])
		if i = skipSpace(text, end); text[i] == '}' {
			return
		}
	}
}

func (j *jsonRows) member(rec *record, prefix string, key []byte, at int, value []byte) {
	if prefix == "" {
		if j.inner && string(key) == callbackField {
			return
		}
		if block := blockName(key); block != "" {
			if value[0] == '{' {
				j.object(rec, block+".", at)
			} else if value[0] != 'n' {
				rec.fault(at+1, block, "is %s, it must be an object", quote(value))
			}
			return
		}
	}
	var col column
	var index int
	ok := prefix == labelPrefix && len(key) > 0
	if j.name = append(append(j.name[:0], prefix...), key...); ok {
		col.label = string(key) // as it is
	} else {
		col, index, ok = lookup(j.name)
	}
	if !ok {
		rec.syntax(at+1, "", "%s", whyUnknown("name", string(j.name)))
		return
	}
	var again bool
	if col.field == nil {
		_, again = rec.Room.Label[col.label]
	} else {
		again = j.seen&(1<<index) != 0
		j.seen |= 1 << index
	}
	if again {
		rec.fault(at+1, col.name(), "appears twice")
		return
	}
	rec.places = append(rec.places, place{col, at + 1})
	if col.field != nil && col.field.json && value[0] == '{' {
		var text bytes.Buffer
		json.Compact(&text, value) // cannot fail
		*col.field.text(&rec.Room) = text.String()
		return
	}
	isText, wantText := value[0] == '"', col.field == nil || col.field.text != nil
	switch {
	case value[0] == 'n': // null
	case isText && !wantText:
		rec.fault(at+1, col.name(), "is the text %s, it must be a number without quotes", quote(value))
	case wantText && !isText:
		rec.fault(at+1, col.name(), "is %s, it must be a text in quotes", quote(value))
	case col.field == nil:
		rec.setLabel(col.label, string(unquote(value)), 0)
	case wantText:
		*col.field.text(&rec.Room) = string(trim(unquote(value)))
	case value[0] != '-' && (value[0] < '0' || value[0] > '9'):
		rec.fault(at+1, col.name(), "is %s, it must be a number", quote(value))
	default:
		rec.setNumber(col.field, at+1, value)
	}
}

// blockName returns the name of the block of that key, or "".
func blockName(key []byte) string {
	if len(key) <= len("Whiteboard") {
		for _, name := range []string{"Whiteboard", "COS", "Label"} {
			if strings.EqualFold(name, string(key)) {
				return name
			}
		}
	}
	return ""
}

// The functions below require that text is a valid JSON object.

func skipSpace(text []byte, i int) int {
	for i < len(text) && (text[i] == ' ' || text[i] == '\t') {
		i++
	}
	return i
}

// skipValue returns the index after the value that begins at i.
func skipValue(text []byte, i int) int {
	for depth := 0; ; i++ {
		switch text[i] {
		case '"':
			for i++; text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		default:
			if depth == 0 { // a number, true, false or null
				return i + bytes.IndexAny(text[i:], ",} \t")
			}
		}
		if depth == 0 {
			return i + 1
		}
	}
}

// unquote returns the value of a JSON string.
func unquote(text []byte) []byte {
	if bytes.IndexByte(text, '\\') < 0 {
		return text[1 : len(text)-1]
	}
	var s string
	json.Unmarshal(text, &s) // cannot fail
	return []byte(s)
}

// quote returns a value for people, cut to a readable length.
func quote(value []byte) string { return fmt.Sprintf("%.40s", value) }
