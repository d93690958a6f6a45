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
	leftOut = map[string][]string{} // tests, by what they lack
)

// Program returns the path of a program. Where the machine has none of that
// name, it skips the test, or fails it if RequireEnv is set.
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
	leftOut[lack] = append(leftOut[lack], name)
	mu.Unlock()
	tb.Skip("left out: " + lack)
}

// Time skips a test under -short. A test that takes longer than about half a
// second calls it first.
func Time(tb testing.TB) {
	tb.Helper()
	if testing.Short() {
		tb.Skip("it takes too long for -short")
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
	for _, lack := range slices.Sorted(maps.Keys(leftOut)) {
		tests := slices.Compact(slices.Sorted(slices.Values(leftOut[lack])))
		fmt.Fprintf(w, "%s: %s: left out, or parts of it: %s\n", program, lack, strings.Join(tests, ", "))
	}
}
