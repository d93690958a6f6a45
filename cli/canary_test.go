package cli

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
)

// canary is part of every secret in this test.
const canary = "CANARY"

// outputs has all output, by source.
type outputs struct {
	mu  sync.Mutex
	all map[string]*bytes.Buffer
}

func (w *outputs) add(source, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all[source] == nil {
		w.all[source] = new(bytes.Buffer)
	}
	w.all[source].WriteString(text)
}

func (w *outputs) contains(source, text string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.all[source] != nil && strings.Contains(w.all[source].String(), text)
}

// writerTo returns a writer that adds to a source.
func (w *outputs) writerTo(source string) io.Writer {
	return writer(func(p []byte) { w.add(source, string(p)) })
}

type writer func([]byte)

func (f writer) Write(p []byte) (int, error) { f(p); return len(p), nil }

// find returns the sources in which one of the words occurs, with the text around it.
func (w *outputs) find(words map[string]string) (found []string) {
	for source, text := range w.all {
		lower := strings.ToLower(text.String())
		for what, word := range words {
			i := strings.Index(text.String(), word)
			if what == canary {
				i = strings.Index(lower, strings.ToLower(word))
			}
			if i >= 0 {
				around := text.Bytes()[max(0, i-80):min(text.Len(), i+80)]
				found = append(found, fmt.Sprintf("%s shows %s: %q", source, what, around))
			}
		}
	}
	return found
}

// encodings returns a word as it is, in hex, and in base64 at every offset that changes its encoding.
func encodings(word string) map[string]string {
	words := map[string]string{word: word, word + " in hex": hex.EncodeToString([]byte(word))}
	for offset := range 3 {
		text := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", offset) + word))
		words[fmt.Sprintf("%s in base64, %d", word,
			offset)] = text[(offset*8+5)/6 : (offset+len(word))*8/6] // the characters that depend on the word alone
	}
	return words
}

func TestCanaryEncodings(t *testing.T) {
	out := &outputs{all: map[string]*bytes.Buffer{}}
	for offset := range 3 {
		for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.RawURLEncoding} {
			out.add(fmt.Sprint(offset), encoding.EncodeToString([]byte(strings.Repeat("?", offset)+canary+"?>")))
		}
		if !out.contains(fmt.Sprint(offset), encodings(canary)[fmt.Sprintf("%s in base64, %d", canary, offset)]) {
			t.Errorf("the canary is not found in base64 with offset %d", offset)
		}
	}
	out.add("hex", hex.EncodeToString([]byte(canary)))
	out.add("lower case", strings.ToLower(canary))
	if found := out.find(encodings(canary)); len(found) != 5 {
		t.Errorf("the canary is found %d times, want 5: %q", len(found), found)
	}
}
