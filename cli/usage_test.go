package cli

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Usage errors have tiwsnap's own wording and name the correct form.
func TestUsageErrors(t *testing.T) {
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
func TestArgumentsAreCheckedBeforeRedis(t *testing.T) {
	t.Parallel()
	s := site{T: t}
	s.environ = map[string]string{
		"TIWSNAP_REDIS_URL": "redis://127.0.0.1:1",
		"TIWSNAP_CONFIG": s.file("tiwsnap.yml",
			`schedules: [{name: evening, cron: "0 1 * * *", rooms: {list: "RoomId\n1\n"}, defaults: {SdkAppId: 1}}]`),
	}
	for args, want := range map[string]string{
		"enqueue room --room 1":                            "SdkAppId is missing: set it with --app",
		"enqueue room --app 1":                             "RoomId is missing: see tiwsnap enqueue room -h",
		"enqueue room --app 1 --room 1 --width 2561":       "Whiteboard.Width is 2561",
		"enqueue room --app 1 --room 1 --callback-url x":   "--callback-url must be a URL",
		"enqueue batch ../examples/class.csv --mode All":   `SnapshotMode is "All"`,
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
	code, stdout, stderr := s.run("SdkAppId,RoomId,COS.Uin,COS.Bucket\n1400123480,1,100000000001,notes-1250000000\n",
		"enqueue", "batch", "-", "--check", "--cos-region", "ap-guangzhou")
	if code != exitOK || !strings.HasPrefix(stdout, "1 room valid") {
		t.Errorf("--cos-region and a list with the bucket: exit code %d, %q, %q", code, stdout, stderr)
	}
}

// A command that only has subcommands prints its help to stderr and exits with a usage error.
func TestMissingSubcommand(t *testing.T) {
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
		t.Errorf("%d commands have subcommands, want at least 5", n)
	}
}
