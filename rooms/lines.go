package rooms

import (
	"bufio"
	"bytes"
	"io"
	"unicode/utf8"
)

// lines takes a text apart into lines that end in LF, CRLF or CR.
type lines struct {
	r    *bufio.Reader
	n    int    // the number of the line, from 1
	text []byte // the line without its end, good until next
	more bool   // the line is longer than MaxRowBytes and goes on in the next text
	used int    // bytes of r that text and its end take
	kept bool   // unread was called
}

func newLines(r io.Reader) *lines {
	return &lines{r: bufio.NewReaderSize(r, MaxRowBytes)}
}

// unread makes next return the same line again.
func (l *lines) unread() { l.kept = true }

// next reads a line, or the rest of one that is too long. It returns io.EOF or
// a *FileError.
func (l *lines) next() error {
	if l.kept {
		l.kept = false
		return nil
	}
	tail := l.more
	if !tail {
		l.n++
	}
	if err := l.scan(); err == io.EOF {
		return err
	} else if err != nil {
		return &FileError{Line: l.n, Err: err}
	}
	if l.n == 1 && !tail {
		if err := l.begin(); err != nil {
			return err
		}
	}
	if !tail && !l.more && !utf8.Valid(l.text) {
		return fileError(l.n, `the text is not UTF-8, save the file as "CSV UTF-8" or with the encoding UTF-8`)
	}
	return nil
}

// skip drops the rest of a line that is too long.
func (l *lines) skip() error {
	for l.more {
		if err := l.next(); err != nil && err != io.EOF {
			return err
		}
	}
	return nil
}

// scan sets text, more and used. The error is the reader's.
func (l *lines) scan() error {
	l.r.Discard(l.used)
	l.text, l.more, l.used = nil, false, 0
	for seen := 0; ; {
		data, _ := l.r.Peek(l.r.Buffered())
		if i := bytes.IndexAny(data[seen:], "\r\n"); i < 0 {
			seen = len(data)
		} else {
			seen += i
			rest := data[seen:]
			if rest[0] == '\n' || len(rest) > 1 { // else it may be half of a CRLF
				l.text, l.used = data[:seen], seen+1
				if rest[0] == '\r' && rest[1] == '\n' {
					l.used++
				}
				return nil
			}
		}
		switch all, err := l.r.Peek(len(data) + 1); { // moves the text, so data is no longer good
		case err == nil:
		case err == bufio.ErrBufferFull:
			l.text, l.used, l.more = all[:seen], seen, true
			return nil
		case err == io.EOF && len(all) > 0:
			l.text, l.used = all[:seen], len(all)
			return nil
		default:
			return err
		}
	}
}

// begin looks at the first line for what people save by mistake.
func (l *lines) begin() error {
	const save = `, save it as "CSV UTF-8"`
	switch text := l.text; {
	case bytes.HasPrefix(text, []byte("\xff\xfe")), bytes.HasPrefix(text, []byte("\xfe\xff")):
		return fileError(0, "the file is UTF-16 text"+save)
	case bytes.HasPrefix(text, []byte("PK\x03\x04")):
		return fileError(0, "the file is a spreadsheet or a zip archive"+save)
	case bytes.IndexByte(text, 0) >= 0:
		return fileError(0, "the file is not text"+save)
	}
	l.text = bytes.TrimPrefix(l.text, []byte("\xef\xbb\xbf"))
	return nil
}
