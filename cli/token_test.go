package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"tiwsnap/internal/password"
)

func TestToken(t *testing.T) {
	var got struct{ Token, Hash string }
	s := site{T: t}
	if err := json.Unmarshal([]byte(s.mustRun("token", "-o", "json")), &got); err != nil ||
		password.HashToken(got.Token) != got.Hash {
		t.Errorf("token and hash do not match: %+v (%v)", got, err)
	}
	out := s.mustRun("token")
	if !strings.HasPrefix(out, "token  tiwsnap_") || !strings.Contains(out, "\nhash   sha256:") {
		t.Errorf("token printed %q", out)
	}
}
