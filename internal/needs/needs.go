// Package needs skips tests that need a program that is not installed, or more
// time than `go test -short` allows. Each package reports at the end what it
// skipped and why. With TIWSNAP_TEST_REQUIRE, as in CI, a missing program fails
// the test instead.
package needs

import (
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/term"
)

// RequireEnv, when set, makes each test fail that would be skipped for what the
// machine lacks.
const RequireEnv = "TIWSNAP_TEST_REQUIRE"

var (
	mu      sync.Mutex
	skipped = map[string][]string{} // tests, by what the machine lacks
)

// Program returns the path of a program. If the machine does not have it, it skips
// the test, or fails it if RequireEnv is set.
func Program(tb testing.TB, name string) string {
	tb.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		Skip(tb, "no "+name+" on this machine")
	}
	return path
}

// Skip skips a test because of what the machine lacks, or fails it if
// RequireEnv is set.
func Skip(tb testing.TB, lack string) {
	tb.Helper()
	if os.Getenv(RequireEnv) != "" {
		tb.Fatalf("%s, and %s is set", lack, RequireEnv)
	}
	mu.Lock()
	name, _, _ := strings.Cut(tb.Name(), "/")
	skipped[lack] = append(skipped[lack], name)
	mu.Unlock()
	tb.Skip(lack)
}

// Time skips a test under -short. A test that takes longer than about half a
// second calls it first.
func Time(tb testing.TB) {
	tb.Helper()
	if testing.Short() {
		tb.Skip("takes too long for -short")
	}
}

// Runner is a *testing.M, or one that does more. goleak.VerifyTestMain takes it.
type Runner interface{ Run() int }

type reporting struct{ Runner }

// Reporting returns a Runner that runs m and then prints which tests were skipped,
// and why.
func Reporting(m Runner) Runner { return reporting{m} }

func (r reporting) Run() int {
	code := r.Runner.Run()
	report(os.Stdout)
	// `go test ./...` hides the output of packages that pass, so the report also
	// goes to the terminal.
	if code == 0 && !testing.Verbose() && !term.IsTerminal(int(os.Stdout.Fd())) {
		if tty, err := os.OpenFile("/dev/tty", os.O_WRONLY, 0); err == nil {
			report(tty)
			tty.Close()
		}
	}
	return code
}

func report(w io.Writer) {
	program := strings.TrimSuffix(filepath.Base(os.Args[0]), ".test")
	mu.Lock()
	defer mu.Unlock()
	for _, lack := range slices.Sorted(maps.Keys(skipped)) {
		tests := slices.Compact(slices.Sorted(slices.Values(skipped[lack])))
		fmt.Fprintf(w, "%s: %s: skipped, or partly skipped: %s\n", program, lack, strings.Join(tests, ", "))
	}
}
