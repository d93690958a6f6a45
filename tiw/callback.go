package tiw

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// CallbackKeys make and verify the callback URLs of attempts. Tencent
// documents neither the body of a snapshot's callback nor a signature on it,
// so what a callback can prove lies in its URL: nobody but Tencent was told it.
//
// To replace a key while URLs signed with it are about: first give the new key
// as the second one everywhere, then swap the two, and take the old one away
// when the last of its URLs has expired. The zero value verifies nothing.
type CallbackKeys struct {
	keys []callbackKey
}

type callbackKey struct {
	id     string
	secret *string // behind a pointer: fmt prints unexported fields past every method
}

// NewCallbackKeys returns keys of which the first signs and all verify. Empty
// secrets are left out. A secret should be random, of at least 32 bytes.
func NewCallbackKeys(secrets ...string) CallbackKeys {
	var k CallbackKeys
	for _, secret := range secrets {
		if secret != "" {
			key := callbackKey{secret: &secret}
			key.id = key.mac("key id")[:8] // what is signed begins with a slash, so this signs nothing
			k.keys = append(k.keys, key)
		}
	}
	return k
}

// Format prints *** for every verb of package fmt.
func (CallbackKeys) Format(f fmt.State, _ rune) { io.WriteString(f, "***") }

// callbackRoot begins the path of every callback URL. It has the version of
// what follows, since URLs that are about outlive a deployment.
const callbackRoot = "/cb/v1/"

// URL returns the callback URL of one attempt at a snapshot. Whoever knows it
// can report for that attempt until it expires, so it is a secret. base is the
// public URL without a slash at its end; expires has a resolution of one
// second. It panics where there is no key.
func (k CallbackKeys) URL(base, snapshot string, attempt int, expires time.Time) string {
	return base + k.keys[0].path(snapshot, attempt, expires.Unix())
}

func (k callbackKey) path(snapshot string, attempt int, expires int64) string {
	signed := callbackRoot + k.id + "/" + url.PathEscape(snapshot) + "/" + strconv.Itoa(attempt) + "/" +
		strconv.FormatInt(expires, 36)
	return signed + "/" + k.mac(signed)
}

func (k callbackKey) mac(text string) string {
	h := hmac.New(sha256.New, []byte(*k.secret))
	io.WriteString(h, text)
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// Why a path is refused. None of them says anything of the path itself.
var (
	errCallbackPath      = errors.New("not the path of a callback")
	errCallbackKey       = errors.New("made with a key that is not known here")
	errCallbackSignature = errors.New("the signature is wrong")
	errCallbackExpired   = errors.New("expired")
)

// Verify returns what a callback URL was made for, from its path as it was
// sent: any other spelling is refused, an escaped one too. Only the path of the
// base is of no interest, since proxies take it off or leave it on. The error
// says why a path is refused, in words that may be logged.
func (k CallbackKeys) Verify(path string, now time.Time) (snapshot string, attempt int, err error) {
	path = path[max(strings.LastIndex(path, callbackRoot), 0):]
	fields, ok := strings.CutPrefix(path, callbackRoot)
	part := strings.SplitN(fields, "/", 6)
	if !ok || len(part) != 5 {
		return "", 0, errCallbackPath
	}
	i := slices.IndexFunc(k.keys, func(key callbackKey) bool { return key.id == part[0] })
	if i < 0 {
		return "", 0, errCallbackKey
	}
	snapshot, err = url.PathUnescape(part[1])
	attempt, attemptErr := strconv.Atoi(part[2])
	expires, expiresErr := strconv.ParseInt(part[3], 36, 64)
	if err != nil || attemptErr != nil || expiresErr != nil {
		return "", 0, errCallbackPath
	}
	// Making the path again and comparing all of it leaves no second spelling.
	if !hmac.Equal([]byte(path), []byte(k.keys[i].path(snapshot, attempt, expires))) {
		return "", 0, errCallbackSignature
	}
	if now.Unix() > expires {
		return "", 0, errCallbackExpired
	}
	return snapshot, attempt, nil
}

// MaxCallback bounds the body of a callback, in bytes: ParseCallback reads no
// further.
const MaxCallback = 64 << 10

// Callback is what the body of a callback tells. It is a hint and never the
// truth: anybody in between may have written it.
type Callback struct {
	TaskID string // of 1 to 128 printable ASCII characters without a space; empty if there is none
}

// ParseCallback finds the TaskID in a body of any form. The body of a
// snapshot's callback is not documented, so the TaskID may be anywhere in the
// JSON, also in JSON that is the text of a string. A field named exactly
// TaskID wins over TaskId, task_id and the like, and the first over later ones.
// The body is read as far as it is JSON, at most 32 levels deep.
func ParseCallback(body []byte) Callback {
	body = body[:min(len(body), MaxCallback)]
	var s taskSearch
	s.document(bytes.TrimPrefix(body, []byte("\ufeff")), 32)
	return Callback{TaskID: s.taskID}
}

type taskSearch struct {
	taskID string
	exact  bool // its field was named TaskID
}

func (s *taskSearch) document(text []byte, depth int) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber() // else a number that is too large would end the document
	for s.value(d, "", depth) {
	}
}

// value reads one value, which has a name in its object, and reports whether
// there may be more behind it.
func (s *taskSearch) value(d *json.Decoder, name string, depth int) bool {
	token, err := d.Token()
	if err != nil {
		return false
	}
	switch token := token.(type) {
	case string:
		s.offer(name, token)
		if text := strings.TrimSpace(token); depth > 0 && text != "" && strings.Contains("{[", text[:1]) {
			s.document([]byte(text), depth-1)
		}
	case json.Delim:
		if depth == 0 {
			return false
		}
		for d.More() {
			if token == '{' {
				key, err := d.Token()
				if err != nil {
					return false
				}
				name = key.(string) // else it were an error; elements of an array go by the array's name
			}
			if !s.value(d, name, depth-1) {
				return false
			}
		}
		if _, err := d.Token(); err != nil { // the closing one
			return false
		}
	}
	return true
}

func (s *taskSearch) offer(name, value string) {
	exact := name == "TaskID"
	if !exact && strings.ToLower(strings.ReplaceAll(name, "_", "")) != "taskid" {
		return
	}
	unprintable := func(r rune) bool { return r <= ' ' || r > '~' }
	if value == "" || len(value) > 128 || strings.ContainsFunc(value, unprintable) {
		return
	}
	if s.taskID == "" || exact && !s.exact {
		s.taskID, s.exact = value, exact
	}
}
