package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"tiwsnap/internal/needs"
	"tiwsnap/tiw/tiwtest"
)

// Usage errors have tiwsnap's own wording and name the correct form.
func TestWrongUse(t *testing.T) {
	t.Parallel()
	s := site{T: t}
	for args, want := range map[string]string{
		"enqueue room --app x --room 1": `--app "x": it must be a whole number from 0 to 18446744073709551615`,
		"enqueue room --label x":        `--label "x": it must be NAME=VALUE`,
		"enqueue batch x --strict=so":   `--strict "so": it must be true or false`,
		"status --limit x":              `--limit "x": it must be a whole number`,
		"simulator --latency x":         `--latency "x": it must be a duration such as 500ms, 30s or 10m`,
		"status --limit":                "--limit needs a value: see tiwsnap status -h",
		"enqueue batch x --nam y":       "unknown flag: --nam: did you mean --name?",
		"status --redis-ulr y":          "unknown flag: --redis-ulr: did you mean --redis-url?",
		"status --nonsense":             "unknown flag: --nonsense: see tiwsnap status -h",
		"retry x --failed --held":       "--failed and --held exclude each other: leave out one",
		"images x --to a --zip b":       "--to and --zip exclude each other: leave out one",
		"status -z":                     "unknown shorthand flag: 'z' in -z: see tiwsnap status -h",
		"enqueue batch": "no arguments given; usage: tiwsnap enqueue batch FILE [flags], see tiwsnap " +
			"enqueue batch -h",
		"status a b":     "2 arguments given: a b; usage: tiwsnap status [ID] [flags], see tiwsnap status -h",
		"foo --limit 1":  `unknown command "foo" for "tiwsnap": see tiwsnap -h`,
		"enqueue bach x": `unknown command "bach" for "tiwsnap enqueue": did you mean tiwsnap enqueue batch?`,
		"completion bsh": `unknown command "bsh" for "tiwsnap completion": did you mean tiwsnap ` +
			`completion bash?`,
		"token x": "1 argument given: x; usage: tiwsnap token [flags], see tiwsnap token -h",
	} {
		code, stdout, stderr := s.run("", strings.Fields(args)...)
		if code != exitUsage || stdout != "" || stderr != "tiwsnap: "+want+"\n" {
			t.Errorf("tiwsnap %s: exit code %d, %q, %q, want %q", args, code, stdout, stderr, want)
		}
	}
}

// Arguments are checked before the connection to Redis.
func TestWrongArgumentsNeedNoRedis(t *testing.T) {
	t.Parallel()
	s := site{T: t}
	s.environ = map[string]string{
		"TIWSNAP_REDIS_URL": "redis://127.0.0.1:1",
		"TIWSNAP_CONFIG": s.file("tiwsnap.yml",
			`schedules: [{name: evening, cron: "0 1 * * *", rooms: {list: "RoomId\n1\n"}, defaults: {SdkAppId: 1}}]`),
	}
	for args, want := range map[string]string{
		"enqueue room --room 1":                            "SdkAppId: is missing: see tiwsnap enqueue room -h",
		"enqueue room --app 1":                             "RoomId: is missing: see tiwsnap enqueue room -h",
		"enqueue room --app 1 --room 1 --width 2561":       "Whiteboard.Width: is 2561",
		"enqueue room --app 1 --room 1 --callback-url x":   "--callback-url must be a URL",
		"enqueue batch ../examples/class.csv --mode All":   `SnapshotMode: is "All"`,
		"enqueue batch ../examples/class.csv --height 1e4": `--height "1e4"`,
		"enqueue batch ../examples/class.csv --name -":     `--name "-"`,
		"again b --name -":                                 `--name "-"`,
		"audit -n 0":                                       "--number 0",
		"find 1 --limit 0":                                 "--limit 0",
		"limit 0":                                          `"0" is not a limit`,
		"retry b --code X":                                 "--code needs --failed or --held",
		"schedule pause none":                              `no schedule is named "none"`,
		"schedule resume none":                             `no schedule is named "none"`,
		"schedule run none":                                `no schedule is named "none"`,
		"status b --limit 1":                               "--limit filters the list",
		"webhooks resend":                                  "give the ids of webhooks",
		"status -o csv --tz No":                            "--tz works only with",
	} {
		code, stdout, stderr := s.run("", strings.Fields(args)...)
		if code != exitUsage || stdout != "" || !strings.HasPrefix(stderr, "tiwsnap: "+want) {
			t.Errorf("tiwsnap %s: exit code %d, %q, %q, want %q", args, code, stdout, stderr, want)
		}
	}
	// A row of a class list can complete the flags.
	s.says(exitUnavailable, "127.0.0.1:1", "enqueue", "batch", "../examples/class.csv", "--cos-region", "ap-singapore")
}

// A command that only has subcommands prints its help to stderr and exits with a usage error.
func TestCommandsWithoutOneOfTheirs(t *testing.T) {
	t.Parallel()
	s := site{T: t}
	n := 0
	everyCommand(func(cmd *cobra.Command) {
		path := strings.Fields(cmd.CommandPath())[1:]
		if !cmd.HasSubCommands() || len(path) > 0 && (path[0] == "webhooks" || path[0] == "images") {
			return // these have an action of their own
		}
		n++
		code, stdout, stderr := s.run("", path...)
		if code != exitUsage || stdout != "" || !strings.Contains(stderr, "COMMANDS:\n") ||
			!strings.HasSuffix(stderr, "\ntiwsnap: "+cmd.CommandPath()+" needs a subcommand\n") {
			t.Errorf("tiwsnap %v: exit code %d, %q, %q", path, code, stdout, stderr)
		}
	})
	if n < 5 {
		t.Errorf("%d commands have others", n)
	}
}

// With -o json, stdout has what was done, and the error goes to stderr.
func TestErrorsLeaveJSONAlone(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	s.batch("b", 1)
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

func TestCanceledRoomsAreCounted(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	s.batch("b", 3)
	s.ok("cancel", "b")
	if header, rows := table(t, s.ok("status", "-o", "csv")); rows[0][header["CANCELED"]] != "3" {
		t.Errorf("%v %v", header, rows)
	}
	s.says(exitOK, "CANCELED", "status")
	s.says(exitFailed, "3/3 done, 0 failed, 3 canceled\n", "wait", "b")
	if code, text := s.watching(
		"0 failed, 3 canceled\n",
	); code != exitOK ||
		!strings.Contains(text, " 1 batch: 0 running") {
		t.Errorf("exit code %d, %q", code, text)
	}
}

func TestWordsAboutLists(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	code, _, stderr := s.run("RoomId\n1\nx\n", "enqueue", "batch", "-", "--app", "1400123480", "--name", "one")
	if code != exitFailed || !strings.Contains(stderr, "-: 1 bad row left out\n") ||
		!strings.Contains(stderr, "batch one: 1 room enqueued\n") {
		t.Errorf("exit code %d, %q", code, stderr)
	}
	// Labels survive a round trip through a result list. Characters that a workbook cannot hold are reported.
	labels := "RoomId,Label.A,Label.B,Label.C\n1,'=x,''=x,'plain\n2,''@,-1,\x1b[2J\n"
	if code, _, stderr := s.run(
		labels,
		"enqueue",
		"batch",
		"-",
		"--app",
		"1400123480",
		"--name",
		"labels",
	); code != exitOK {
		t.Fatal(stderr)
	}
	want := s.ok("status", "labels", "-o", "csv")
	code, book, stderr := s.run("", "status", "labels", "-o", "xlsx")
	if code != exitOK || !strings.Contains(stderr, "1 room: control characters were replaced by U+FFFD") {
		t.Errorf("exit code %d, %q", code, stderr)
	}
	file := filepath.Join(t.TempDir(), "labels.xlsx")
	if err := os.WriteFile(file, []byte(book), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, stderr = s.run("", "enqueue", "batch", file, "--name", "again", "--encoding", "gb18030")
	if code != exitOK || !strings.Contains(stderr, "the encoding that was named is not used: the file is a workbook") {
		t.Errorf("exit code %d, %q", code, stderr)
	}
	_, _, stderr = s.run(want, "enqueue", "batch", "-", "--name", "csv")
	if got := s.ok("status", "csv", "-o", "csv"); got != strings.ReplaceAll(want, "labels.", "csv.") {
		t.Errorf("through CSV, %s:\n%s\nwant\n%s", stderr, got, want)
	}
	want = strings.ReplaceAll(strings.ReplaceAll(want, "labels.", "again."), "\x1b", "\ufffd")
	if got := s.ok("status", "again", "-o", "csv"); got != want {
		t.Errorf("through a workbook:\n%s\nwant\n%s", got, want)
	}
}

func TestFirstLoginNamesItsFile(t *testing.T) {
	t.Parallel()
	s := site{T: t}
	dir := filepath.Join(t.TempDir(), "none")
	code, _, stderr := s.run("", "first-login", dir)
	if want := "tiwsnap: " + filepath.Join(
		dir,
		"session_key",
	) + " cannot be written: no such file or directory\n"; code != exitUnavailable ||
		stderr != want {
		t.Errorf("exit code %d, %q, want %q", code, stderr, want)
	}
}
