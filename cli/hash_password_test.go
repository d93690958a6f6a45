package cli

import (
	"strings"
	"testing"

	"tiwsnap/internal/password"
)

func TestHashPassword(t *testing.T) {
	s := site{T: t}
	code, stdout, stderr := s.run("correct horse\nmore\n", "hash-password")
	if hash := strings.TrimSuffix(stdout, "\n"); code != exitOK || stderr != "" ||
		!password.Verify(hash, "correct horse") {
		t.Errorf("hash-password: exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	for _, in := range []string{"", "\n", "short", strings.Repeat("x", 300)} {
		if code, stdout, stderr := s.run(in, "hash-password"); code != exitUsage || stdout != "" ||
			!strings.Contains(stderr, "the password is") {
			t.Errorf("input %.10q: exit code %d, %s%s", in, code, stdout, stderr)
		}
	}
}
