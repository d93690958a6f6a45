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
	again, _ := password.Hash(word)
	old, err := bcrypt.GenerateFromPassword([]byte(word), 10)
	if err != nil {
		t.Fatal(err)
	}
	if hash == again || strings.Contains(hash, word) {
		t.Errorf("two hashes: %s and %s", hash, again)
	}
	for _, h := range []string{hash, again, string(old)} {
		if err := password.Check(h); err != nil {
			t.Errorf("%s: %v", h, err)
		}
		if !password.Verify(h, word) {
			t.Errorf("%s does not know its password", h)
		}
		for _, wrong := range []string{"", "correct hors", word + " ", strings.ToUpper(word), strings.Repeat("x", 100),
			strings.Repeat("x", 1<<20)} {
			if password.Verify(h, wrong) {
				t.Errorf("%s takes %.80q", h, wrong)
			}
		}
	}
	for _, short := range []string{"", "1234567", strings.Repeat("x", 257)} {
		if h, err := password.Hash(short); err == nil {
			t.Errorf("%.10q has the hash %s", short, h)
		}
	}
}

func TestWhatIsNoHash(t *testing.T) {
	good, err := password.Hash("correct horse")
	if err != nil {
		t.Fatal(err)
	}
	with := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("%s lacks %s", good, old)
		}
		return strings.Replace(good, old, new, 1)
	}
	for _, test := range []struct{ hash, want string }{
		{"", "tiwsnap hash-password"},
		{"correct horse", "tiwsnap hash-password"},
		{with("argon2id", "argon2i"), "tiwsnap hash-password"},
		{with("v=19", "v=16"), "version 19"},
		{with("m=19456", "m=+19456"), "not a complete"},
		{with("p=1", "p=1,x=1"), "not a complete"},
		{good[:len(good)-2], "not a complete"},
		{good[:strings.LastIndex(good, "$")+1] + strings.Repeat("A", 42), "wrong length"}, // one character is missing
		{good + "=", "not a complete"},
		{with("m=19456", "m=1024"), "KiB"},
		{with("m=19456", "m=4194304"), "KiB"},
		{with("t=2", "t=0"), "passes"},
		{with("t=2", "t=1000"), "passes"},
		{with("p=1", "p=200"), "threads"},
		{"$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$" + strings.Split(good, "$")[5], "salt"},
		{"$2b$04$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuuabcdefghijklmno", "cost"},
		{"$2b$31$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuuabcdefghijklmno", "cost"},
		{"$2b$10$short", "bcrypt"},
	} {
		err := password.Check(test.hash)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: got %v, want %q", test.hash, err, test.want)
		}
		if err != nil && len(test.hash) > 20 && strings.Contains(err.Error(), test.hash[10:]) {
			t.Errorf("the error shows the hash: %v", err)
		}
		if password.Verify(test.hash, "correct horse") {
			t.Errorf("%q takes the password", test.hash)
		}
	}
}

func TestTokens(t *testing.T) {
	token := password.NewToken()
	if other := password.NewToken(); len(token) < 60 || token == other {
		t.Errorf("got %s and %s", token, other)
	}
	hash := password.HashToken(token)
	if err := password.CheckToken(hash); err != nil {
		t.Error(err)
	}
	for _, wrong := range []string{"", token, "sha256:", hash[:len(hash)-1], hash + "0", strings.ToUpper(hash),
		strings.TrimPrefix(hash, "sha256:")} {
		if password.CheckToken(wrong) == nil {
			t.Errorf("%q passes for a hash", wrong)
		}
	}
}
