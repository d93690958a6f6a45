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

// CallbackKeys sign and verify the callback URLs of attempts. Tencent documents
// neither the body nor a signature of a snapshot's callback. The secret URL is the
// only proof, because only Tencent gets it.
//
// To rotate a key, first add the new key as the second one in all processes, then
// swap the two. Remove the old key when its last URL has expired. The zero value
// verifies no URL.
type CallbackKeys struct {
	keys []callbackKey
}

type callbackKey struct {
	id     string
	secret *string // behind a pointer: fmt prints unexported fields past every method
}

// NewCallbackKeys returns keys: the first signs, all verify. Empty secrets are
// ignored. A secret should have at least 32 random bytes.
func NewCallbackKeys(secrets ...string) CallbackKeys {
	var k CallbackKeys
	for _, secret := range secrets {
		if secret != "" {
			key := callbackKey{secret: &secret}
			key.id = key.mac("key id")[:8] // no URL: their signed part begins with a slash
			k.keys = append(k.keys, key)
		}
	}
	return k
}

// Format prints *** for every verb of package fmt.
func (CallbackKeys) Format(f fmt.State, _ rune) { io.WriteString(f, "***") }

// callbackRoot begins the path of every callback URL. It has a version, because URLs
// outlive a deployment.
const callbackRoot = "/cb/v1/"

// URL returns the callback URL of an attempt. It is a secret: anyone who has it can
// report for that attempt until it expires. base is the public URL without a
// trailing slash; expires has a resolution of one second. It panics without a key.
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

// Reasons to refuse a path. None contains a part of the path.
var (
	errCallbackPath      = errors.New("not the path of a callback")
	errCallbackKey       = errors.New("signed with an unknown key")
	errCallbackSignature = errors.New("the signature is wrong")
	errCallbackExpired   = errors.New("expired")
)

// Verify returns the snapshot and the attempt of a callback URL. path is its path as
// sent; any other spelling or escaping is refused. The path of the base is ignored,
// because proxies may remove it. The error may be logged.
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
	// Comparing with a newly made path permits no other spelling.
	if !hmac.Equal([]byte(path), []byte(k.keys[i].path(snapshot, attempt, expires))) {
		return "", 0, errCallbackSignature
	}
	if now.Unix() > expires {
		return "", 0, errCallbackExpired
	}
	return snapshot, attempt, nil
}

// MaxCallback is the maximum number of bytes of a callback's body that
// ParseCallback reads.
const MaxCallback = 64 << 10

// Callback is the content of a callback's body. It is only a hint, because it is not
// authenticated.
type Callback struct {
	TaskID string // 1 to 128 printable ASCII characters without spaces; empty: none
}

// ParseCallback finds the TaskID in a body of any form. Tencent does not document
// the body of a snapshot's callback, so the TaskID may be anywhere in the JSON, even
// in JSON inside a string. A field TaskID takes precedence over TaskId, task_id and
// similar names, and the first over later ones. Only valid JSON of at most 32 levels
// is read.
func ParseCallback(body []byte) Callback {
	body = body[:min(len(body), MaxCallback)]
	var s taskSearch
	s.document(bytes.TrimPrefix(body, []byte("\ufeff")), 32)
	return Callback{TaskID: s.taskID}
}

type taskSearch struct {
	taskID string
	exact  bool // the field was named TaskID
}

func (s *taskSearch) document(text []byte, depth int) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber() // otherwise a number that is too large would be an error
	for s.value(d, "", depth) {
	}
}

// value reads one value, the field name of an object. It returns false at the end of
// the input.
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
				name = key.(string) // always a string here; array elements have the name of the array
			}
			if !s.value(d, name, depth-1) {
				return false
			}
		}
		if _, err := d.Token(); err != nil { // the closing bracket
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
