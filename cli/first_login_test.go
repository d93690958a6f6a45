package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tiwsnap/internal/needs"
	"tiwsnap/internal/password"
)

func TestFirstLogin(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	dir := t.TempDir()
	read := func(name string) string {
		t.Helper()
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	passwordOf := func(out string) string {
		fields := strings.Fields(out)
		return fields[len(fields)-1]
	}
	isPassword := func(word string) bool { return password.Verify(strings.Fields(read("users"))[2], word) }

	out, _, code := tiwsnap(t, nil, "first-login", dir, "--url", "http://127.0.0.1:8080/")
	first, key := passwordOf(out), read("session_key")
	ok := strings.HasPrefix(out, "pages     http://127.0.0.1:8080/\nuser      admin\n")
	if code != exitOK || !ok || !isPassword(first) || len(key) < 32 {
		t.Fatalf("first-login: exit code %d: %s", code, out)
	}
	if strings.Contains(read("users"), first) {
		t.Error("the file users contains the password")
	}
	out, errs, code := tiwsnap(t, nil, "first-login", dir)
	if code != exitOK || out != "" || !strings.Contains(errs, "exists and is kept") || !isPassword(first) {
		t.Errorf("second run: exit code %d, %q, %q", code, out, errs)
	}
	out, _, code = tiwsnap(t, nil, "first-login", dir, "--reset")
	second := passwordOf(out)
	if code != exitOK || second == first || !isPassword(second) || isPassword(first) || read("session_key") != key {
		t.Errorf("--reset: exit code %d, %q", code, out)
	}
	hash, err := password.Hash("a word of my own")
	if err != nil {
		t.Fatal(err)
	}
	own := []string{"TIWSNAP_HTTP_USERS=ada view,produce " + hash + "; bob operate " + hash}
	out, errs, code = tiwsnap(t, own, "first-login", dir)
	want := "ada view,produce " + hash + "\nbob operate " + hash + "\n"
	if code != exitOK || out != "" || read("users") != want {
		t.Errorf("TIWSNAP_HTTP_USERS: exit code %d, %q, %q, %s", code, out, errs, read("users"))
	}
	_, errs, code = tiwsnap(t, nil, "first-login", filepath.Join(dir, "nowhere"))
	if code != exitUnavailable || !strings.Contains(errs, "nowhere") {
		t.Errorf("missing folder: exit code %d, %q", code, errs)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".new-*")); left != nil {
		t.Errorf("temporary files are left: %v", left)
	}
}

func TestFirstLoginNamesUnwritableFile(t *testing.T) {
	t.Parallel()
	s := site{T: t}
	dir := filepath.Join(t.TempDir(), "none")
	code, _, stderr := s.run("", "first-login", dir)
	if want := "tiwsnap: " + filepath.Join(
		dir,
		"session_key",
	) + " cannot be written: no such file or directory\n"; code != exitUnavailable ||
		stderr != want {
		t.Errorf("first-login: exit code %d, %q, want %q", code, stderr, want)
	}
}
