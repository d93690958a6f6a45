package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"tiwsnap/internal/password"
)

func TestHashPassword(t *testing.T) {
	s := site{T: t}
	code, stdout, stderr := s.run("correct horse\nmore\n", "hash-password")
	if hash := strings.TrimSuffix(stdout, "\n"); code != exitOK || stderr != "" ||
		!password.Verify(hash, "correct horse") {
		t.Errorf("exit code %d, %s%s", code, stdout, stderr)
	}
	for _, in := range []string{"", "\n", "short", strings.Repeat("x", 300)} {
		if code, stdout, stderr := s.run(in, "hash-password"); code != exitUsage || stdout != "" ||
			!strings.Contains(stderr, "the password is") {
			t.Errorf("%.10q: exit code %d, %s%s", in, code, stdout, stderr)
		}
	}
}

func TestToken(t *testing.T) {
	var got struct{ Token, Hash string }
	s := site{T: t}
	if err := json.Unmarshal([]byte(s.ok("token", "-o", "json")), &got); err != nil ||
		password.HashToken(got.Token) != got.Hash {
		t.Errorf("got %+v, %v", got, err)
	}
	if out := s.ok("token"); !strings.HasPrefix(out, "token  tiwsnap_") || !strings.Contains(out, "\nhash   sha256:") {
		t.Errorf("got %s", out)
	}
}
