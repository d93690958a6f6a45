package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"
)

// Secret is the key that a sender and its receivers share. It prints as *** in every way.
type Secret struct {
	key *string // a pointer, because fmt prints unexported fields without calling their methods
}

const secretPrefix = "whsec_"

// ParseSecret reads a secret in the format of Standard Webhooks: whsec_ and 24 to 64 random bytes in base64.
func ParseSecret(s string) (Secret, error) {
	text, ok := strings.CutPrefix(s, secretPrefix)
	key, err := base64.StdEncoding.DecodeString(text)
	lineBreak := strings.ContainsAny(text, "\r\n") // base64 ignores it
	if !ok || err != nil || len(key) < 24 || len(key) > 64 || lineBreak {
		return Secret{}, errors.New("must be whsec_ and 24 to 64 bytes in base64")
	}
	k := string(key)
	return Secret{&k}, nil
}

// sign returns a signature for the header webhook-signature.
func (s Secret) sign(id string, at time.Time, body []byte) string {
	mac := hmac.New(sha256.New, []byte(*s.key))
	fmt.Fprintf(mac, "%s.%d.%s", id, at.Unix(), body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// Format prints *** for every verb of package fmt.
func (Secret) Format(f fmt.State, _ rune) { io.WriteString(f, "***") }

// LogValue returns *** for every log.
func (Secret) LogValue() slog.Value { return slog.StringValue("***") }

// MarshalText returns ***.
func (Secret) MarshalText() ([]byte, error) { return []byte("***"), nil }
