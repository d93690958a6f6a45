package cli

import (
	"context"
	"strings"
	"testing"
)

func TestBenchArguments(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"a row that there is not":                  {[]string{"bench", "drian"}, `no row "drian"; the rows are drain`},
		"a file to compare with that is no report": {[]string{"bench", "--compare", "bench_test.go"}, "not the report of a bench"},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs strings.Builder
			code := run(context.Background(), test.args, env{strings.NewReader(""), &out, &errs, variables(nil)})
			if code != exitUsage || !strings.Contains(errs.String(), test.want) {
				t.Errorf("exit code %d: %s", code, errs.String())
			}
		})
	}
}
