package tiwtest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	algorithm       = "TC3-HMAC-SHA256"
	terminator      = "tc3_request"
	unsignedPayload = "UNSIGNED-PAYLOAD"
	maxSkew         = 300 * time.Second
)

// Secret is a secret key or token. It prints as ***.
type Secret string

func (Secret) String() string               { return "***" }
func (Secret) GoString() string             { return "***" }
func (Secret) LogValue() slog.Value         { return slog.StringValue("***") }
func (Secret) MarshalText() ([]byte, error) { return []byte("***"), nil }

// authorization is a parsed Authorization header.
type authorization struct {
	secretID, date, service string
	signed                  []string // header names
	signature               string
}

// parseAuthorization reads
//
//	TC3-HMAC-SHA256 Credential=ID/DATE/SERVICE/tc3_request, SignedHeaders=a;b, Signature=HEX
func parseAuthorization(header string) (a authorization, ok bool) {
	rest, ok := strings.CutPrefix(header, algorithm+" ")
	if !ok {
		return a, false
	}
	for part := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "Credential":
			scope := strings.Split(value, "/")
			if len(scope) != 4 || scope[3] != terminator {
				return a, false
			}
			a.secretID, a.date, a.service = scope[0], scope[1], scope[2]
		case "SignedHeaders":
			a.signed = strings.Split(strings.ToLower(value), ";")
		case "Signature":
			a.signature = value
		default:
			return a, false
		}
	}
	ok = a.secretID != "" && len(a.signature) == hex.EncodedLen(sha256.Size) &&
		slices.Contains(a.signed, "host") && slices.Contains(a.signed, "content-type")
	return a, ok
}

// authenticate checks the signature of a request over the raw bytes of its body, as
// Tencent's page "Signature v3" describes it.
func (s *Server) authenticate(r *http.Request, c *apiRequest, body []byte, now time.Time) *apiError {
	if !c.wellFormed {
		return errorf("AuthFailure.InvalidAuthorization", "The Authorization header is missing or does not follow %s.",
			algorithm)
	}
	if !c.known {
		return errorf("AuthFailure.SecretIdNotFound",
			"The SecretId is not found, please ensure that your SecretId is correct.")
	}
	stamp := r.Header.Get("X-TC-Timestamp")
	if stamp == "" {
		return errorf("MissingParameter", "The request is missing the required header X-TC-Timestamp.")
	}
	unix, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil {
		return errorf("InvalidParameter", "X-TC-Timestamp is not a Unix time in seconds.")
	}
	if d := unix - now.Unix(); d > int64(maxSkew/time.Second) || d < -int64(maxSkew/time.Second) {
		return errorf("AuthFailure.SignatureExpire",
			"The signature has expired: X-TC-Timestamp differs from the server's time by %d seconds.", d)
	}
	if !s.signatureMatches(r, c.auth, c.key, unix, body) {
		return errorf("AuthFailure.SignatureFailure",
			"The provided credentials could not be validated. Please check your signature is correct.")
	}
	if Secret(r.Header.Get("X-TC-Token")) != s.opt.Tokens[c.auth.secretID] {
		return errorf("AuthFailure.TokenFailure", "The token is not the one that belongs to the SecretId.")
	}
	return nil
}

func (s *Server) signatureMatches(r *http.Request, a authorization, key Secret, unix int64, body []byte) bool {
	if a.date != time.Unix(unix, 0).UTC().Format(time.DateOnly) {
		return false
	}
	bare := r.Host // the Node SDK signs the host without its port, the Go SDK with it
	if host, _, err := net.SplitHostPort(r.Host); err == nil {
		bare = host
	}
	// SDKs take the service from the first label of the endpoint.
	label, _, _ := strings.Cut(bare, ".")
	if a.service != "tiw" && (s.opt.StrictService || a.service != label) {
		return false
	}
	payload := sha256.Sum256(body)
	if r.Header.Get("X-TC-Content-SHA256") == unsignedPayload {
		payload = sha256.Sum256([]byte(unsignedPayload))
	}
	signing := signingKey(key, a.date, a.service)
	for _, host := range []string{r.Host, bare} {
		want := signature(signing, a, unix, canonicalRequest(r.Method, r.Header, host, a.signed, payload))
		if hmac.Equal([]byte(want), []byte(a.signature)) {
			return true
		}
	}
	return false
}

func canonicalRequest(method string, header http.Header, host string, signed []string,
	payload [sha256.Size]byte) string {
	names := slices.Sorted(slices.Values(signed))
	var b strings.Builder
	b.WriteString(method + "\n/\n\n")
	for _, name := range names {
		value := host
		if name != "host" {
			value = strings.Join(header.Values(name), ",")
		}
		b.WriteString(name + ":" + strings.ToLower(strings.TrimSpace(value)) + "\n")
	}
	b.WriteString("\n" + strings.Join(names, ";") + "\n" + hex.EncodeToString(payload[:]))
	return b.String()
}

func signingKey(key Secret, date, service string) []byte {
	k := hmacSHA256([]byte("TC3"+string(key)), date)
	return hmacSHA256(hmacSHA256(k, service), terminator)
}

func signature(signing []byte, a authorization, unix int64, canonical string) string {
	hash := sha256.Sum256([]byte(canonical))
	scope := a.date + "/" + a.service + "/" + terminator
	return hex.EncodeToString(hmacSHA256(signing,
		algorithm+"\n"+strconv.FormatInt(unix, 10)+"\n"+scope+"\n"+hex.EncodeToString(hash[:])))
}

func hmacSHA256(key []byte, message string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(message))
	return h.Sum(nil)
}
