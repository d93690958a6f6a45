package rooms

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"unicode/utf8"
)

// lines splits a text into lines that end in LF, CRLF or CR.
type lines struct {
	in   *decoder
	r    *bufio.Reader // of in
	n    int           // the number of the line, from 1
	text []byte        // the line without its end, good until next
	more bool          // the line is longer than MaxRowBytes and goes on in the next text
	used int           // bytes of r that text and its end take
	kept bool          // unread was called
}

func newLines(in *decoder) *lines {
	return &lines{in: in, r: bufio.NewReaderSize(in, MaxRowBytes)}
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
	if err := l.scan(); err != nil {
		return l.failed(err)
	}
	if tail {
		return nil
	}
	// Lists that were put together have a byte order mark in the middle, too.
	if len(l.text) > 0 && l.text[0] == byteOrderMarkUTF8[0] {
		l.text = bytes.TrimPrefix(l.text, []byte(byteOrderMarkUTF8))
	}
	return l.check(l.text)
}

// failed wraps an error of the reader in a FileError, except io.EOF.
func (l *lines) failed(err error) error {
	var unclear *FileError // of the decoder
	switch {
	case err == io.EOF:
		return err
	case errors.As(err, &unclear):
		unclear.Line = l.n
		return unclear
	}
	return &FileError{Line: l.n, Err: err}
}

const byteOrderMarkUTF8 = "\ufeff"

// check returns an error if the current text is not valid in its encoding.
func (l *lines) check(text []byte) error {
	switch {
	case l.in.from.table != nil && bytes.ContainsRune(text, utf8.RuneError):
		return fileError(l.n, "the text is not %s as a whole: %s", l.in.from.name, nameEncoding)
	case !l.more && !utf8.Valid(text):
		return fileError(l.n, `the text is not UTF-8: `+nameEncoding+`, or save the file as "CSV UTF-8"`)
	}
	return nil
}

// skip skips the rest of a line that is too long.
func (l *lines) skip() error {
	for l.more {
		if err := l.next(); err != nil && err != io.EOF {
			return err
		}
	}
	return nil
}

// scan sets text, more and used. The error is that of the reader.
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
