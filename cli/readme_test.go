package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"tiwsnap/config"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/internal/testbed"
	"tiwsnap/tiw/tiwtest"
)

var shellBlock = regexp.MustCompile("(?s)```sh\n(.*?)```")

// readmeCommands returns the commands in the shell blocks of the README and of the pages that continue it, without
// comments.
func readmeCommands(t *testing.T) (commands []string) {
	t.Helper()
	for _, file := range []string{"README.md", "docs/redis.md", "docs/go.md", "docs/callbacks.md"} {
		text, err := os.ReadFile("../" + file)
		if err != nil {
			t.Fatal(err)
		}
		blocks := shellBlock.FindAllStringSubmatch(string(text), -1)
		if len(blocks) == 0 {
			t.Errorf("%s has no command", file)
		}
		for _, block := range blocks {
			for line := range strings.Lines(block[1]) {
				line, _, _ = strings.Cut(line, "#")
				if line = strings.TrimSpace(line); line != "" {
					commands = append(commands, line)
				}
			}
		}
	}
	return commands
}

// TestReadmeCommands runs the tiwsnap commands of the README in order, against a redis-server and a simulator on free
// ports. It checks the other commands as far as this machine allows.
func TestReadmeCommands(t *testing.T) {
	needs.Time(t)
	s := newSiteOn(t, redistest.Real(t).URL(), tiwtest.Options{})
	commands := readmeCommands(t)
	var exported []string
	t.Chdir("..")
	for _, line := range commands {
		words := strings.Fields(line)
		line, _, _ = strings.Cut(line, " < ")
		args := strings.Fields(line)[1:]
		switch words[0] {
		case "./tiwsnap":
			switch args[0] {
			case "simulator": // the site has one
				checkArgs(t, "README", args)
			case "worker":
				s.startWorker()
			case "retry": // of a batch in which nothing failed
				s.checkRun(exitFailed, "nothing to retry", args...)
			default:
				s.mustRun(args...)
			}
		case "export":
			exported = append(exported, args...)
			for _, arg := range args {
				name, value, _ := strings.Cut(arg, "=")
				if strings.HasPrefix(name, "TENCENTCLOUD_") && value != s.environ[name] {
					t.Errorf("README: %s: want the simulator's value %q", line, s.environ[name])
				}
			}
		case "go", "CGO_ENABLED=0":
			// "go build ." and "go test ./..." have run before this test. CI runs the demo. TestFromAnotherModule of
			// package client runs the others.
			elsewhere := strings.HasPrefix(line, "go mod edit ") || strings.HasPrefix(line, "go get ")
			if line != "CGO_ENABLED=0 go build ." && line != "go test ./..." && line != "go run . demo" && !elsewhere {
				t.Errorf("README: %s: no test runs it", line)
			}
		case "redis-server":
			for i := range 2 {
				name, value := strings.TrimPrefix(args[2*i], "--"), args[2*i+1]
				if got := s.redisConfig(name); got == "" || i == 1 && got != value {
					t.Errorf("README: redis-server has %s %q, not %q", name, got, value)
				}
			}
		case "docker": // compose up, compose run --rm -T SERVICE ARGS
			if words[2] == "run" {
				if words[5] != "worker" {
					t.Errorf("README: %s", line)
				}
				checkArgs(t, "README", args[5:])
			}
		default:
			t.Errorf("README: %s: no test runs it", line)
		}
	}
	if _, err := config.Load(config.Source{Environ: exported}, config.Credentials); err != nil {
		t.Errorf("README: variables: %v", err)
	}
}

// Both READMEs must have the same commands and no dead links.
func TestChineseReadmeMatches(t *testing.T) {
	comment := regexp.MustCompile(`\s*#.*`)
	commands := func(file string) (all []string) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\]\(([^):]+)\)`).FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join("..", m[1])); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
		for _, block := range shellBlock.FindAllStringSubmatch(string(text), -1) {
			for line := range strings.Lines(block[1]) {
				all = append(all, comment.ReplaceAllString(strings.TrimSpace(line), ""))
			}
		}
		return all
	}
	english, chinese := commands("../README.md"), commands("../README.zh-CN.md")
	if !slices.Equal(english, chinese) {
		t.Errorf("README.md has the commands\n%s\nand README.zh-CN.md\n%s",
			strings.Join(english, "\n"), strings.Join(chinese, "\n"))
	}
}

// The README must show the real output of the demo, except for values that differ between runs.
func TestReadmeShowsDemoOutput(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir() // for the copies of its images
	// The demo runs without the race detector, as it does for users. The race detector makes drawing the boards ten
	// times slower.
	binary, err := testbed.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var out, errs strings.Builder
	demo := exec.CommandContext(t.Context(), binary, "demo")
	demo.Env = []string{"TMPDIR=" + dir}
	demo.Stdout, demo.Stderr = &out, &errs
	if err := demo.Run(); err != nil {
		t.Fatalf("%v: %s", err, errs.String())
	}
	digits := regexp.MustCompile(`[0-9]+(\.[0-9]+)?`)
	left := regexp.MustCompile(`[0-9hms]+ left`)
	accepted := regexp.MustCompile(`, [0-9]+ accepted`) // where there are any at the moment
	folder := regexp.MustCompile(`open \S*/tiwsnap-demo`)
	shape := func(s string) string {
		s = folder.ReplaceAllString(s, "open /tmp/tiwsnap-demo")
		s = accepted.ReplaceAllString(strings.TrimSpace(strings.ReplaceAll(s, dir, "/tmp")), "")
		return digits.ReplaceAllString(left.ReplaceAllString(s, "T left"), "N")
	}
	shown := make(map[string]bool)
	for line := range strings.Lines(string(text)) {
		shown[shape(line)] = true
	}
	for line := range strings.Lines(errs.String() + out.String()) {
		if !shown[shape(line)] {
			t.Errorf("the README does not show the demo's line %q", line)
		}
	}
	for _, want := range []string{"succeeded                    240", "rejected                     0"} {
		if !strings.Contains(out.String(), want) || !strings.Contains(string(text), want) {
			t.Errorf("the demo or the README lacks %q:\n%s", want, out.String())
		}
	}
}

func (s site) redisConfig(name string) string {
	s.Helper()
	v, err := s.client().ConfigGet(s.Context(), name).Result()
	if err != nil {
		s.Fatal(err)
	}
	return v[name]
}
