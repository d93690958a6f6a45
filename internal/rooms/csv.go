package rooms

import (
	"bytes"
	"fmt"
	"io"
	"unicode/utf8"
)

// csvRows parses CSV. encoding/csv is fast enough (9 million plain rows a
// second) but has no bound: one stray quote makes it hold the rest of the
// file, and a reader in front of it that bounds the rows would have to follow
// quotes and faults just as it does. Nor does it end lines at a lone CR.
type csvRows struct {
	lines *lines
	delim byte
	given bool // delim is what the file itself says

	fields [][]byte // of the row at hand
	buf    []byte   // fields of a row with quotes
	ends   []int    // where each of them ends in buf
}

// newCSV returns a parser that starts with the current line.
func newCSV(l *lines) *csvRows {
	c := &csvRows{lines: l}
	if delim, ok := delimiterLine(l.text); ok && !l.more {
		c.delim, c.given = delim, true
	} else {
		l.unread()
	}
	return c
}

// delimiterLine reads a line such as sep=; with which spreadsheets declare the delimiter before the header.
func delimiterLine(line []byte) (byte, bool) {
	line = bytes.Trim(bytes.TrimRight(line, " "), `"`)
	if len(line) < 5 || !bytes.EqualFold(line[:4], []byte("sep=")) {
		return 0, false
	}
	delim := line[4]
	// Saved once more, the line is filled up with delimiters.
	if rest := bytes.Trim(line[5:], `",;`+"\t"); len(rest) > 0 ||
		delim >= utf8.RuneSelf || delim == '"' || delim == ' ' || delim >= '0' && delim <= '9' {
		return 0, false
	}
	return delim, true
}

func (c *csvRows) delimiter() byte { return c.delim }

// likeliestDelimiter returns the delimiter that occurs most outside quotes in the header.
func likeliestDelimiter(header []byte) byte {
	best, most := byte(','), 0
	for _, d := range []byte(",;\t") {
		n, quoted := 0, false
		for _, b := range header {
			if b == '"' {
				quoted = !quoted
			} else if b == d && !quoted {
				n++
			}
		}
		if n > most {
			best, most = d, n
		}
	}
	return best
}

func isNumber(text []byte) bool {
	text = trim(text)
	return len(text) > 0 && len(bytes.Trim(text, "0123456789")) == 0
}

func (c *csvRows) next(rec *record) (cells, shown [][]byte, err error) {
	for {
		if err := c.lines.next(); err != nil {
			return nil, nil, err
		}
		if len(rec.places) == 0 && !c.given { // the header is still to come
			c.delim = likeliestDelimiter(c.lines.text)
		}
		if c.lines.more || !c.empty(c.lines.text) {
			break
		}
	}
	rec.Line = c.lines.n
	err = c.split(rec)
	return c.fields, nil, err
}

// empty reports whether a line has only spaces and delimiters.
func (c *csvRows) empty(line []byte) bool {
	for _, b := range line {
		if b != c.delim && b != ' ' && b != '\t' {
			return false
		}
	}
	return true
}

// split parses the row that starts with the current line into c.fields, and reads further lines if a quoted field goes
// on. After a fault it skips the rest of the line, or the rest of the row if that is too long.
func (c *csvRows) split(rec *record) error {
	l, text := c.lines, c.lines.text
	c.fields = c.fields[:0]
	if !l.more && bytes.IndexByte(text, '"') < 0 {
		for {
			i := bytes.IndexByte(text, c.delim)
			if i < 0 {
				c.fields = append(c.fields, text)
				return nil
			}
			c.fields = append(c.fields, text[:i])
			text = text[i+1:]
		}
	}

	c.buf, c.ends = c.buf[:0], c.ends[:0]
	for more := true; more; {
		state := inField
		if len(text) == 0 {
			state = atField
		}
		if len(text) == 0 || text[0] != '"' {
			end := bytes.IndexByte(text, c.delim)
			if more = end >= 0; !more {
				end = len(text)
			}
			field := text[:end]
			if bytes.IndexByte(field, '"') >= 0 {
				return c.bad(rec, "has a quote in the middle: put the whole field in quotes and double those inside")
			}
			c.buf = append(c.buf, field...)
			text = text[min(end+1, len(text)):]
		} else {
			line := l.n
			text = text[1:]
			for {
				i := bytes.IndexByte(text, '"')
				if i < 0 {
					if l.more || len(c.buf)+len(text) >= MaxRowBytes {
						return c.skipRow(rec, inQuotes)
					}
					c.buf = append(append(c.buf, text...), '\n')
					if err := l.next(); err == io.EOF {
						return c.unclosed(rec, line)
					} else if err != nil {
						return err
					}
					text = l.text
					continue
				}
				c.buf = append(c.buf, text[:i]...)
				text = text[i+1:]
				if len(text) == 0 || text[0] != '"' {
					break
				}
				c.buf = append(c.buf, '"')
				text = text[1:]
			}
			state = afterQuotes
			if more = len(text) > 0; more {
				if text[0] != c.delim {
					return c.bad(rec, "goes on after its closing quote: double the quotes inside a quoted field")
				}
				text = text[1:]
			}
		}
		if !more && l.more {
			return c.skipRow(rec, state)
		}
		c.ends = append(c.ends, len(c.buf))
	}
	begin := 0
	for _, end := range c.ends {
		c.fields = append(c.fields, c.buf[begin:end])
		begin = end
	}
	return nil
}

// fault adds a fault of the current field.
func (c *csvRows) fault(rec *record, reason string) Fault {
	at := len(c.ends) + 1
	if at > len(rec.places) || rec.places[at-1].name() == "" { // also while the header is read
		return Fault{at, "", "the field " + reason}
	}
	return Fault{at, rec.places[at-1].name(), reason}
}

// bad adds a fault of the current field and skips the line.
func (c *csvRows) bad(rec *record, reason string) error {
	rec.faults, rec.broken = append(rec.faults, c.fault(rec, reason)), true
	return c.lines.skip()
}

// Where the text at hand ends in a row that is too long.
type csvState int

const (
	atField     csvState = iota // before a field
	inField                     // in one without quotes
	inQuotes                    // in one with quotes
	afterQuotes                 // after its closing quote, or between two doubled ones
)

// skipRow adds the fault that the row is too long in the current field, and skips the row without buffering it.
func (c *csvRows) skipRow(rec *record, state csvState) error {
	rec.faults = append(rec.faults, c.fault(rec, fmt.Sprintf("makes the row longer than %d KiB", MaxRowBytes>>10)))
	rec.broken = true
	for c.lines.more || state == inQuotes {
		if err := c.lines.next(); err == io.EOF && state == inQuotes {
			return c.unclosed(rec, rec.Line)
		} else if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		for _, b := range c.lines.text {
			switch {
			case b == '"' && state == inQuotes:
				state = afterQuotes
			case b == '"' && (state == atField || state == afterQuotes):
				state = inQuotes
			case state == inQuotes:
			case b == c.delim:
				state = atField
			default:
				state = inField
			}
		}
	}
	return nil
}

// unclosed returns the error for the current field, whose quote opens on line.
func (c *csvRows) unclosed(rec *record, line int) error {
	return &FileError{Line: line, Faults: []Fault{
		c.fault(rec, "has a quote that is never closed, so the rest of the file cannot be read")}}
}
