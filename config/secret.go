package config

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
)

const mask = "***"

// Secret is text that prints as ***; only Reveal returns it. The zero value is the empty
// secret.
type Secret struct {
	text *string // behind a pointer: fmt prints unexported fields past every method
	file string  // the file that it was read from, or empty
}

// NewSecret returns text as a Secret.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{text: &text}
}

// Reveal returns the text.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// Empty reports whether there is no text.
func (s Secret) Empty() bool { return s.Reveal() == "" }

// String returns ***.
func (Secret) String() string { return mask }

// GoString returns ***, for %#v.
func (Secret) GoString() string { return mask }

// Format prints *** for every verb of package fmt.
func (Secret) Format(f fmt.State, _ rune) { io.WriteString(f, mask) }

// LogValue returns ***, for package slog.
func (Secret) LogValue() slog.Value { return slog.StringValue(mask) }

// MarshalText returns ***, also for JSON and YAML.
func (Secret) MarshalText() ([]byte, error) { return []byte(mask), nil }

// maxSecret is the maximum size of a file with a secret, in bytes.
const maxSecret = 16 << 10

// readSecret returns the content of a file without trailing newlines.
func readSecret(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", unreadable(name, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	switch {
	case err != nil:
		return "", unreadable(name, err)
	case len(b) > maxSecret:
		return "", fmt.Errorf("%s has more than %d bytes, too many for a secret", quote(name), maxSecret)
	case len(strings.TrimRight(string(b), "\r\n")) == 0:
		return "", fmt.Errorf("%s is empty: it must contain the secret", quote(name))
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

// unreadable returns the error of a file that cannot be read, with its name once.
func unreadable(name string, err error) error {
	if cause := errors.Unwrap(err); cause != nil {
		err = cause
	}
	return fmt.Errorf("%s cannot be read: %w", quote(name), err)
}
