package cli

import (
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"tiwsnap/internal/needs"
	"tiwsnap/tiw/tiwtest"
)

// everyCommand calls do for each command.
func everyCommand(do func(*cobra.Command)) {
	root := newRoot(env{strings.NewReader(""), io.Discard, io.Discard, variables(nil)})
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		do(cmd)
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(root)
}

// TestConventionsOfAllCommands tests what is the same for all commands. Help has examples. Unknown flags,
// arguments and formats, bad settings and an unreachable Redis are errors.
func TestConventionsOfAllCommands(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	required := map[string]string{ // arguments
		"again": "a", "cancel": "a", "find": "1", "first-login": "none", "images": "a", "images retry": "a",
		"pause": "a", "resume": "a", "retry": "a", "wait": "a", "webhooks resend": "a",
		"enqueue batch": "-", "enqueue room": "--app 1 --room 1",
		"schedule next": "a", "schedule pause": "a", "schedule resume": "a", "schedule run": "a",
	}
	noOutputFlag := []string{
		"",
		"worker",
		"web",
		"help",
		"enqueue",
		"schedule",
		"config",
		"completion",
		"completion bash",
		"completion fish",
		"completion powershell",
		"completion zsh",
	}
	s := site{T: t, environ: map[string]string{"TENCENTCLOUD_SECRET_ID": "x", "TENCENTCLOUD_SECRET_KEY": "x"}}
	s.environ["TIWSNAP_CONFIG"] = s.file("tiwsnap.yml",
		`schedules: [{name: a, cron: "0 1 * * *", rooms: {list: "RoomId\n1\n"}, defaults: {SdkAppId: 1}}]`)
	everyCommand(func(cmd *cobra.Command) {
		name := strings.TrimPrefix(strings.TrimPrefix(cmd.CommandPath(), "tiwsnap"), " ")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			with := func(more ...string) []string {
				return slices.Concat(strings.Fields(name), strings.Fields(required[name]), more)
			}
			checkOn := func(s site, code int, words string, args ...string) {
				t.Helper()
				if got, text := s.runToEnd("", false, args); got != code || !strings.Contains(text, words) {
					t.Errorf("tiwsnap %s: exit code %d, want %d; want %q in the output:\n%s",
						strings.Join(args, " "), got, code, words, text)
				}
			}
			check := func(code int, words string, args ...string) { t.Helper(); checkOn(s, code, words, args...) }
			if !strings.Contains(cmd.Example, "tiwsnap") {
				t.Errorf("the help of %q has no EXAMPLES", name)
			}
			for line := range strings.Lines(cmd.Example) {
				if !strings.HasPrefix(line, "  ") || len(line) > 120 {
					t.Errorf("an example of %q is not indented by two spaces, or too long: %q", name, line)
				}
			}
			check(exitOK, "EXAMPLES:\n", with("-h")...)
			check(exitUsage, "unknown flag", with("--nonsense")...)
			if name != "" {
				check(exitUsage, "", strings.Fields(name+" nonsense nonsense nonsense -o nonsense")...)
			}
			if f := cmd.Flags().Lookup("output"); f == nil {
				if cmd.Runnable() && !slices.Contains(noOutputFlag, name) {
					t.Errorf("%q prints a result but has no -o json", name)
				}
			} else if !strings.Contains(f.Usage, "json") {
				t.Errorf("%q has no -o json", name)
			} else if name != "doctor" {
				check(exitUsage, "--output \"nonsense\"", with("-o", "nonsense")...)
			}
			if cmd.Flags().Lookup("redis-url") != nil && cmd.Runnable() {
				if name != "config check" && name != "config print" {
					checkOn(s.withVariable("TIWSNAP_REDIS_URL", "redis://127.0.0.1:1"), exitUnavailable, "127.0.0.1:1", with()...)
				}
				checkOn(s.withVariable("TIWSNAP_RATE_LIMIT", "nonsense"), exitConfig, "TIWSNAP_RATE_LIMIT", with()...)
			}
		})
	})
	for _, args := range [][]string{
		{"nonsense"}, {"enqueue", "bathc", "x.csv"}, {"webhooks", "resnd"}, {"completion", "bsh"}, {"help", "nonsense"},
	} {
		if code, text := s.runToEnd("", false, args); code != exitUsage || !strings.Contains(text, "command") {
			t.Errorf("tiwsnap %v: exit code %d\n%s", args, code, text)
		}
	}
}

// With -o json, stdout has what was done, and the error goes to stderr.
func TestErrorsAreNotOnStdout(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	s.enqueueBatch("b", 1)
	for args, code := range map[string]int{
		"enqueue batch none.csv -o json":                                  exitUsage,
		"enqueue batch - -o jsonl":                                        exitUsage,
		"enqueue batch ../examples/class.csv --name b -o json":            exitUsage,
		"enqueue room --app 1 -o json":                                    exitUsage,
		"status none -o json":                                             exitUsage,
		"status none -o csv":                                              exitUsage,
		"wait none -o json":                                               exitUsage,
		"failures --batch none -o json":                                   exitUsage,
		"limit 0 -o json":                                                 exitUsage,
		"schedule next none -o json":                                      exitUsage,
		"schedule run none -o jsonl":                                      exitUsage,
		"hash-password -o json":                                           exitUsage,
		"status -o json --redis-url redis://127.0.0.1:1":                  exitUnavailable,
		"enqueue room --app 1 --room 1 -o json --config none.yml":         exitConfig,
		"cancel b -o json --redis-url redis://127.0.0.1:1":                exitUnavailable,
		"webhooks -o json --redis-url redis://127.0.0.1:1":                exitUnavailable,
		"enqueue batch ../examples/class.csv --webhook https://x -o json": exitUsage,
	} {
		got, stdout, stderr := s.run("", strings.Fields(args)...)
		if got != code || stdout != "" || !strings.Contains(stderr, "tiwsnap: ") {
			t.Errorf("tiwsnap %s: exit code %d, want %d, %q, %q", args, got, code, stdout, stderr)
		}
	}
	// Commands that take several ids print an entry for each.
	for _, command := range []string{"cancel", "pause", "resume", "retry"} {
		code, stdout, stderr := s.run("", command, "none", "-o", "jsonl")
		if code != exitUsage || !strings.HasPrefix(stdout, `{"id":"none","done":false,`) ||
			!strings.Contains(stderr, "tiwsnap: ") {
			t.Errorf("tiwsnap %s: exit code %d, %q, %q", command, code, stdout, stderr)
		}
	}
}

func TestRedisUnavailable(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	s.environ["TIWSNAP_REDIS_URL"] = "redis://:s3cret@127.0.0.1:1/0"
	for _, args := range [][]string{{"worker"}, {"status"}, {"enqueue", "room", "--app", "1", "--room", "1"},
		{"enqueue", "batch", "../examples/class.csv"}} {
		code, _, stderr := s.run("", args...)
		if code != exitUnavailable || !strings.Contains(stderr, "127.0.0.1:1") || strings.Contains(stderr, "s3cret") {
			t.Errorf("%v: exit code %d, %q", args, code, stderr)
		}
	}
}

// Every command that uses Redis has a --namespace flag.
func TestRedisCommandsHaveNamespaceFlag(t *testing.T) {
	t.Parallel()
	everyCommand(func(cmd *cobra.Command) {
		if cmd.Flags().Lookup("redis-url") != nil && cmd.Flags().Lookup("namespace") == nil {
			t.Errorf("%s has no --namespace", cmd.CommandPath())
		}
	})
}
