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

// stream is stdout or stderr of a command. It keeps the first write error, so that no
// output is lost in silence. For people it escapes characters that control a terminal.
type stream struct {
	terminal *os.File // nil if w is not a terminal

	mu     sync.Mutex
	w      io.Writer
	escape bool
	rest   []byte // bytes of an incomplete character
	err    error  // first write error
}

// newStream returns a stream to w. It escapes if people is true or w is a terminal.
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
	whole := len(text) - incompleteRune(text)
	_, s.err = io.WriteString(s.w, escape(string(text[:whole]), "\n\t"))
	s.rest = append([]byte(nil), text[whole:]...)
	if s.err != nil {
		return 0, s.err
	}
	return len(p), nil
}

// end writes the rest and returns the first write error.
func (s *stream) end() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil && len(s.rest) > 0 {
		_, s.err = io.WriteString(s.w, escape(string(s.rest), ""))
		s.rest = nil
	}
	return s.err
}

// incompleteRune returns the number of bytes at the end that begin a character.
func incompleteRune(p []byte) int {
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

// escape escapes text for a terminal, except the characters of keep. Control characters
// and those that change the writing direction become \u001b as in JSON. Invalid UTF-8
// becomes U+FFFD.
func escape(s, keep string) string {
	if strings.IndexFunc(s, func(r rune) bool { return unsafeRune(r) || r == utf8.RuneError }) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unsafeRune(r) && !strings.ContainsRune(keep, r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// unsafeRune reports whether a character can control a terminal.
func unsafeRune(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029'
}

// terminalOf returns the terminal that a command prints on, or nil.
func terminalOf(w io.Writer) *os.File {
	if s, ok := w.(*stream); ok {
		return s.terminal
	}
	return nil
}
