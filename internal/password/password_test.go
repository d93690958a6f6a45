package password_test

import (
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"tiwsnap/internal/needs"
	"tiwsnap/internal/password"
)

func TestPasswords(t *testing.T) {
	needs.Time(t)
	const word = "correct horse"
	hash, err := password.Hash(word)
	if err != nil {
		t.Fatal(err)
	}
	second, _ := password.Hash(word)
	old, err := bcrypt.GenerateFromPassword([]byte(word), 10)
	if err != nil {
		t.Fatal(err)
	}
	if hash == second || strings.Contains(hash, word) {
		t.Errorf("Hash() = %s and %s, want two different hashes without the password", hash, second)
	}
	for _, h := range []string{hash, second, string(old)} {
		if err := password.Check(h); err != nil {
			t.Errorf("Check(%s) = %v, want nil", h, err)
		}
		if !password.Verify(h, word) {
			t.Errorf("Verify(%s) = false for its password", h)
		}
		for _, wrong := range []string{"", "correct hors", word + " ", strings.ToUpper(word), strings.Repeat("x", 100),
			strings.Repeat("x", 1<<20)} {
			if password.Verify(h, wrong) {
				t.Errorf("Verify(%s) = true for %.80q", h, wrong)
			}
		}
	}
	for _, invalid := range []string{"", "1234567", strings.Repeat("x", 257)} {
		if h, err := password.Hash(invalid); err == nil {
			t.Errorf("Hash(%.10q) = %s, want an error", invalid, h)
		}
	}
}

func TestInvalidHashes(t *testing.T) {
	valid, err := password.Hash("correct horse")
	if err != nil {
		t.Fatal(err)
	}
	with := func(old, new string) string {
		if !strings.Contains(valid, old) {
			t.Fatalf("the hash %s does not contain %s", valid, old)
		}
		return strings.Replace(valid, old, new, 1)
	}
	for _, test := range []struct{ hash, want string }{
		{"", "tiwsnap hash-password"},
		{"correct horse", "tiwsnap hash-password"},
		{with("argon2id", "argon2i"), "tiwsnap hash-password"},
		{with("v=19", "v=16"), "version 19"},
		{with("m=19456", "m=+19456"), "not a complete"},
		{with("p=1", "p=1,x=1"), "not a complete"},
		{valid[:len(valid)-2], "not a complete"},
		{valid[:strings.LastIndex(valid, "$")+1] + strings.Repeat("A", 42), "wrong length"}, // one character is missing
		{valid + "=", "not a complete"},
		{with("m=19456", "m=1024"), "KiB"},
		{with("m=19456", "m=4194304"), "KiB"},
		{with("t=2", "t=0"), "passes"},
		{with("t=2", "t=1000"), "passes"},
		{with("p=1", "p=200"), "threads"},
		{"$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$" + strings.Split(valid, "$")[5], "salt"},
		{"$2b$04$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuuabcdefghijklmno", "cost"},
		{"$2b$31$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuuabcdefghijklmno", "cost"},
		{"$2b$10$short", "bcrypt"},
	} {
		err := password.Check(test.hash)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("Check(%q) = %v, want an error with %q", test.hash, err, test.want)
		}
		if err != nil && len(test.hash) > 20 && strings.Contains(err.Error(), test.hash[10:]) {
			t.Errorf("the error contains the hash: %v", err)
		}
		if password.Verify(test.hash, "correct horse") {
			t.Errorf("Verify(%q) = true", test.hash)
		}
	}
}

func TestTokens(t *testing.T) {
	token := password.NewToken()
	if other := password.NewToken(); len(token) < 60 || token == other {
		t.Errorf("NewToken() = %s and %s, want two different tokens of 60 or more characters", token, other)
	}
	hash := password.HashToken(token)
	if err := password.CheckToken(hash); err != nil {
		t.Error(err)
	}
	for _, wrong := range []string{"", token, "sha256:", hash[:len(hash)-1], hash + "0", strings.ToUpper(hash),
		strings.TrimPrefix(hash, "sha256:")} {
		if password.CheckToken(wrong) == nil {
			t.Errorf("CheckToken(%q) = nil, want an error", wrong)
		}
	}
}
