package client_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
)

// TestFromAnotherModule creates a separate module and adds this one with the commands in docs/go.md. It then runs the
// program of example_test.go against its own Redis. Nothing is downloaded.
func TestFromAnotherModule(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	read := func(name string) string {
		t.Helper()
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	block := regexp.MustCompile("(?s)```sh\n(.*?)```").FindStringSubmatch(read("../docs/go.md"))
	if block == nil {
		t.Fatal("docs/go.md has no commands")
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	url := redistest.Embedded(t).URL()
	school := t.TempDir()
	program := strings.Replace(read("example_test.go"), "package client_test", "package main", 1)
	program = strings.Replace(program, "func Example()", "func main()", 1)
	if err := os.WriteFile(filepath.Join(school, "main.go"), []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	runCommand := func(line string) string {
		t.Helper()
		words := strings.Fields(line)
		cmd := exec.CommandContext(t.Context(), words[0], words[1:]...)
		cmd.Dir = school
		// The module proxy and the checksum database need a network.
		cmd.Env = append(os.Environ(), "GOPROXY=off", "GOSUMDB=off", "GOFLAGS=-buildvcs=false", "GOWORK=off",
			"TIWSNAP_REDIS_URL="+url)
		var errs strings.Builder
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v\n%s", line, err, errs.String())
		}
		return string(out)
	}
	runCommand("go mod init example.com/school")
	for line := range strings.Lines(block[1]) {
		// The path that this test was built from lets the build cache be reused.
		runCommand(strings.ReplaceAll(line, "../tiwsnap", root))
	}
	_, want, _ := strings.Cut(program, "// Output:\n")
	want = strings.TrimSuffix(strings.NewReplacer("\t// ", "", "}\n", "").Replace(want), "\n")
	if got := strings.TrimSpace(runCommand("go run .")); got != want {
		t.Errorf("the program printed\n%s\nwant\n%s", got, want)
	}
}

// A program that links the client links neither a Redis server nor the dependencies of workers and pages.
func TestDependencies(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	deps := strings.Fields(string(out))
	if !slices.Contains(deps, "github.com/redis/go-redis/v9") {
		t.Fatalf("go list does not list go-redis: %q", out)
	}
	for _, p := range deps {
		for _, heavy := range []string{
			"github.com/alicebob/miniredis/v2", "github.com/yuin/gopher-lua", "tiwsnap/internal/embedded",
			"tiwsnap/worker", "tiwsnap/web", "tiwsnap/cli", "tiwsnap/config",
		} {
			if p == heavy || strings.HasPrefix(p, heavy+"/") {
				t.Errorf("package client links %s", p)
			}
		}
	}
}
