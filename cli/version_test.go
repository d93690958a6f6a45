package cli

import (
	"regexp"
	"testing"
)

func TestVersion(t *testing.T) {
	line := regexp.MustCompile(`^tiwsnap \d+\.\d+\.\d+ \(commit \S.*, \S.*, go1\.\S+\)\n$`)
	for _, arg := range []string{"version", "--version"} {
		out, errs, code := tiwsnap(t, nil, arg)
		if !line.MatchString(out) || errs != "" || code != exitOK {
			t.Errorf("%s: stdout %q, stderr %q, exit code %d", arg, out, errs, code)
		}
	}
}
