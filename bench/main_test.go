package main

import (
	"context"
	"os"
	"strings"
	"testing"

	"tiwsnap/internal/redistest"
)

func TestMain(m *testing.M) { os.Exit(redistest.Both(m).Run()) }

func TestArguments(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		code int
		want string
	}{
		"an unknown row": {[]string{"drian"}, 2, `there is no row "drian"; the rows are drain, `},
		"a file that is not a report": {
			[]string{"--compare", "main_test.go"}, 2, "main_test.go is not the report of a bench",
		},
		"an unknown flag":     {[]string{"--shrot"}, 2, "not defined: -shrot"},
		"help lists the rows": {[]string{"--help"}, 0, "  growth     the cost of a snapshot"},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs strings.Builder
			code := run(context.Background(), test.args, &out, &errs)
			if code != test.code || !strings.Contains(errs.String(), test.want) || out.Len() > 0 {
				t.Errorf("exit code %d, want %d and %q: %s%s", code, test.code, test.want, errs.String(), out.String())
			}
		})
	}
}
