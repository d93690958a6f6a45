package rooms

import (
	"bytes"
	"io"
)

// jsonValues splits JSON that is not in lines: an array of rooms, indented or not, or a sequence of indented objects.
// It only finds the end of each value; jsonRows parses the value.
type jsonValues struct {
	jsonRows
	lines *lines
	text  []byte // the rest of the current line
	start int    // of that text in its line
	array bool   // and not yet closed
	value []byte // scratch
}

// newJSONValues returns a parser that starts with the current line.
func newJSONValues(l *lines, note func(int, string, ...any)) *jsonValues {
	j := &jsonValues{jsonRows: jsonRows{note: note}, lines: l}
	j.text = l.text
	if i := skipSpace(j.text, 0); j.text[i] == '[' {
		j.array, j.text = true, j.text[i+1:]
	}
	return j
}

func (j *jsonValues) next(rec *record) error {
	array := j.array
	for {
		j.text = bytes.TrimLeft(j.text, " \t,")
		if len(j.text) > 0 && j.text[0] == ']' && j.array {
			j.array, j.text = false, j.text[1:]
			continue
		}
		if len(j.text) > 0 {
			break
		}
		last := j.lines.n
		switch err := j.advance(); {
		case err == io.EOF && j.array:
			return fileError(last, "the JSON array is never closed: the file is cut off")
		case err != nil:
			return err
		}
	}
	rec.Line = j.lines.n
	if array && !j.array || j.text[0] == ']' {
		return fileError(rec.Line, "there is more behind the end of the JSON array")
	}
	return j.read(rec)
}

// advance reads the next line, or the next part of a long one.
func (j *jsonValues) advance() error {
	if j.start += len(j.lines.text); !j.lines.more {
		j.start = 0
	}
	err := j.lines.next()
	j.text = j.lines.text
	return err
}

// read reads the value that begins at the current text.
func (j *jsonValues) read(rec *record) error {
	first, depth, quoted, escaped, skipRow := j.lines.n, 0, false, false, false
	at := j.start + len(j.lines.text) - len(j.text) // where the value is in its line
	j.value = j.value[:0]
	for {
		i, done := 0, false
		for ; i < len(j.text) && !done; i++ {
			switch b := j.text[i]; {
			case escaped:
				escaped = false
			case quoted && b == '\\':
				escaped = true
			case b == '"':
				quoted = !quoted
			case quoted:
			case b == '{' || b == '[':
				depth++
			case depth > 0 && (b == '}' || b == ']'):
				depth--
				done = depth == 0
			case depth == 0 && (b == ',' || b == ']' || b == ' ' || b == '\t'): // behind a number or a word
				done = true
				i--
			}
		}
		if j.value = append(j.value, j.text[:i]...); len(j.value) > MaxRowBytes {
			skipRow, j.value = true, j.value[:0]
		}
		j.text = j.text[i:]
		if done || depth == 0 && !j.lines.more {
			break
		}
		cut := !j.lines.more
		if err := j.advance(); err == io.EOF {
			return fileError(first, "the JSON value is never closed: the file is cut off")
		} else if err != nil {
			return err
		}
		if cut {
			// JSON has no line end within a text: that a quote is missing
			// must not spoil the rows behind.
			j.value, quoted, escaped = append(j.value, ' '), false, false
		}
	}
	if skipRow {
		rec.syntax(0, "", "the object is longer than %d KiB", MaxRowBytes>>10)
		return nil
	}
	if err := j.lines.check(j.value); err != nil {
		return err
	}
	j.parse(rec, j.value)
	for i := range rec.faults {
		rec.faults[i].Column = j.column(rec.faults[i].Column, at, first)
	}
	for i := range rec.places {
		rec.places[i].at = j.column(rec.places[i].at, at, first)
	}
	return nil
}

// column returns the position in its line of a position in the value. It is 0 if the value has several lines.
func (j *jsonValues) column(in, at, first int) int {
	if in == 0 || j.lines.n != first {
		return 0
	}
	return in + at
}
