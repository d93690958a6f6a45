package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// stream is stdout or stderr of a command. It remembers the first write that
// failed, so that no output is cut in silence, and escapes what could command
// a terminal where people read it.
type stream struct {
	terminal *os.File // nil where it is none

	mu     sync.Mutex
	w      io.Writer
	escape bool
	rest   []byte // the beginning of a character whose end is still to be written
	err    error  // of the first write that failed
}

// newStream returns a stream to w. A terminal is always for people.
func newStream(w io.Writer, people bool) *stream {
	s := &stream{w: w, escape: people}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		s.terminal, s.escape = f, true
	}
	return s
}

func (s *stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, s.err
	}
	if !s.escape {
		n, err := s.w.Write(p)
		s.err = err
		return n, err
	}
	text := append(s.rest, p...)
	whole := len(text) - partial(text)
	_, s.err = io.WriteString(s.w, escape(string(text[:whole]), "\n\t"))
	s.rest = append([]byte(nil), text[whole:]...)
	if s.err != nil {
		return 0, s.err
	}
	return len(p), nil
}

// end writes what is left and returns the error of the first write that failed.
func (s *stream) end() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil && len(s.rest) > 0 {
		_, s.err = io.WriteString(s.w, escape(string(s.rest), ""))
		s.rest = nil
	}
	return s.err
}

// partial is the number of bytes at the end that begin a character.
func partial(p []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(p); n++ {
		if last := p[len(p)-n:]; utf8.RuneStart(last[0]) {
			if utf8.FullRune(last) {
				return 0
			}
			return n
		}
	}
	return 0
}

// escape makes text harmless to a terminal, but for the characters to keep:
// control characters and those that turn the direction of writing become \u001b
// as in JSON, and a byte that is no UTF-8 becomes U+FFFD.
func escape(s, keep string) string {
	if strings.IndexFunc(s, func(r rune) bool { return commands(r) || r == utf8.RuneError }) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if commands(r) && !strings.ContainsRune(keep, r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// commands reports whether a character could command a terminal.
func commands(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029'
}

// terminalOf is the terminal that a command prints on, or nil.
func terminalOf(w io.Writer) *os.File {
	if s, ok := w.(*stream); ok {
		return s.terminal
	}
	return nil
}
