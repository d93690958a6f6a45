package redistest

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"tiwsnap/internal/needs"
)

// kindEnv selects the Redis of URL and Client: server or embedded. If it is not set, the tests run on both. With
// -short, or without a redis-server on the machine, they run only on the embedded one.
const kindEnv = "TIWSNAP_TEST_REDIS"

const (
	onServer   = "server"
	onEmbedded = "embedded"
)

var (
	mu    sync.Mutex
	kind  string              // kind of Redis that URL uses now; "" outside of Both
	users = map[string]bool{} // top-level tests that have called URL
)

// useEither records that a test runs on both kinds of Redis, and returns the kind for the current run.
func useEither(tb testing.TB) string {
	tb.Helper()
	mu.Lock()
	defer mu.Unlock()
	if kind == "" {
		tb.Fatal("redistest.URL and Client need a TestMain with redistest.Both")
	}
	name, _, _ := strings.Cut(tb.Name(), "/")
	users[name] = true
	return kind
}

type both struct{ m *testing.M }

// Both returns a Runner that runs each test that calls URL or Client twice: on a real redis-server and then on the
// embedded Redis, see kindEnv. The other tests run once. At the end it prints which tests were skipped.
func Both(m *testing.M) needs.Runner { return needs.Reporting(both{m}) }

func (b both) Run() int {
	if !flag.Parsed() {
		flag.Parse()
	}
	kinds := []string{onServer, onEmbedded}
	switch chosen := os.Getenv(kindEnv); chosen {
	case onServer, onEmbedded:
		kinds = []string{chosen}
	case "":
		_, err := exec.LookPath("redis-server")
		if testing.Short() || err != nil && os.Getenv(needs.RequireEnv) == "" {
			kinds = []string{onEmbedded}
		}
	default:
		fmt.Fprintf(os.Stderr, "%s is %q, not %s or %s\n", kindEnv, chosen, onServer, onEmbedded)
		return 2
	}
	raiseParallel()
	kind = kinds[0]
	code := b.m.Run()
	if len(kinds) > 1 && len(users) > 0 && code == 0 {
		kind = kinds[1]
		selectUsers()
		fmt.Printf("running %d tests again on the embedded Redis\n", len(users))
		code = b.m.Run()
	}
	return code
}

// raiseParallel sets -parallel to at least eight unless the flag is set: parallel tests wait most of the time.
func raiseParallel() {
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		flag.Set("test.parallel", strconv.Itoa(max(8, runtime.GOMAXPROCS(0))))
	}
}

// selectUsers sets -run to the tests that have called URL.
func selectUsers() {
	run := flag.Lookup("test.run")
	names := make([]string, 0, len(users))
	for name := range users {
		names = append(names, regexp.QuoteMeta(name))
	}
	slices.Sort(names)
	pattern := "^(" + strings.Join(names, "|") + ")$"
	if _, sub, found := strings.Cut(run.Value.String(), "/"); found {
		pattern += "/" + sub
	}
	flag.Set("test.run", pattern)
	flag.Set("test.bench", "")
}
