package cli

import (
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"tiwsnap/internal/redistest"
)

// asProgramEnv makes the test binary behave as tiwsnap, for tests that kill it.
const asProgramEnv = "TIWSNAP_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgramEnv) != "" {
		os.Unsetenv(asProgramEnv)
		os.Exit(Run(os.Args[1:]))
	}
	// Commands store what they know about a Redis in the user's cache, so each test run has a cache of its own. go
	// build keeps the user's cache, because otherwise it compiles everything again.
	if cache, err := exec.Command("go", "env", "GOCACHE").Output(); err == nil {
		os.Setenv("GOCACHE", strings.TrimSpace(string(cache)))
	}
	dir, err := os.MkdirTemp("", "tiwsnap-test")
	if err != nil {
		panic(err)
	}
	os.Setenv("XDG_CACHE_HOME", dir)
	http.DefaultClient.Timeout = time.Minute // no test waits for ever
	code := redistest.Both(m).Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// program returns a command that runs tiwsnap in a separate process.
func program(t *testing.T, redisURL string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgramEnv+"=1", "TIWSNAP_REDIS_URL="+redisURL)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}
