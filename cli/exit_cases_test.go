package cli

import (
	"strings"
)

// exitCase is one way in which a command ends: a row of docs/cli.md.
type exitCase struct {
	command string
	how     string
	code    int
	run     string // its arguments, or after ... the reason why no test runs it
	stdin   string
	environ []string // NAME=value, overriding those of the site
	stop    bool     // the command is interrupted after its first output
}

// commonExitCases has the rows that apply to all commands. They are tested by TestConventionsOfAllCommands,
// TestOutputWriteErrors, TestInterruptAtPrompt and TestInterruptWhileReadingStdin.
var commonExitCases = []exitCase{
	{how: "help (`-h`)", code: exitOK},
	{how: "a flag, an argument or a subcommand is unknown, missing or wrong", code: exitUsage},
	{how: "it needs Redis, which does not answer", code: exitUnavailable},
	{how: "the output cannot be written, for example on a full disk", code: exitTempFail},
	{
		how: "interrupted by Ctrl-C or SIGTERM, also at a prompt or while it reads stdin, " +
			"unless a row below differs",
		code: exitTempFail,
	},
	{how: "the configuration is wrong", code: exitConfig},
}

const (
	rows    = "SdkAppId,RoomId\n1400123480,1\n1400123480,2\n"
	badRows = "SdkAppId,RoomId\n1400123480,1\n1400123480,x\n"
)

// exitCases returns all other rows, in the order of "tiwsnap -h". A new command needs rows of its own here.
func exitCases(full, evicting, taken string) []exitCase {
	redisAt := func(redisURL string) []string { return []string{"TIWSNAP_REDIS_URL=" + redisURL} }
	return []exitCase{
		{command: "again", how: "enqueued", code: exitOK, run: "good --name again"},
		{
			command: "again",
			how:     "with `--wait`: some snapshots failed or were canceled",
			code:    exitFailed,
			run:     "... it is the same as for `enqueue batch`",
		},
		{command: "again", how: "there is no such batch", code: exitUsage, run: "none"},
		{command: "again", how: "a batch has that name already", code: exitUsage, run: "good --name good"},
		{
			command: "again",
			how:     "Redis is full",
			code:    exitTempFail,
			run:     "... it is the same as for `enqueue batch`",
		},
		{
			command: "again",
			how:     "with `--durability replicated`: the replicas have not confirmed it",
			code:    exitTempFail,
			run:     "good --name replicated-again --durability replicated",
		},
		{
			command: "again",
			how:     "with `--wait`: interrupted; the work goes on",
			code:    exitTempFail,
			run:     "good --name waited --wait",
			stop:    true,
		},
		{
			command: "again",
			how:     "Redis evicts keys",
			code:    exitConfig,
			run:     "... it is the same as for `enqueue batch`",
		},

		{command: "cancel", how: "canceled, or canceled before", code: exitOK, run: "cancelme"},
		{command: "cancel", how: "nothing left to cancel", code: exitFailed, run: "good"},
		{command: "cancel", how: "there is no such snapshot or batch", code: exitUsage, run: "none"},

		{command: "completion bash", how: "printed", code: exitOK},
		{command: "completion fish", how: "printed", code: exitOK},
		{command: "completion powershell", how: "printed", code: exitOK},
		{command: "completion zsh", how: "printed", code: exitOK},

		{command: "config check", how: "nothing is wrong", code: exitOK},
		{command: "config print", how: "printed", code: exitOK},

		{command: "demo", how: "all snapshots succeeded", code: exitOK, run: "--rooms GOOD.csv"},
		{
			command: "demo",
			how:     "some snapshots failed, or rows of `--rooms` were left out",
			code:    exitFailed,
			run:     "--rooms BAD.csv",
		},
		{command: "demo", how: "the list cannot be read or has no valid row", code: exitUsage, run: "--rooms none.csv"},
		{command: "demo", how: "interrupted before the end", code: exitTempFail, stop: true},

		{command: "doctor", how: "no check failed", code: exitOK},
		{
			command: "doctor",
			how:     "a check failed, or sending is stopped",
			code:    exitUnavailable,
			environ: []string{"TIWSNAP_TIW_ENDPOINT=http://127.0.0.1:1", "TIWSNAP_NAMESPACE=unused"},
		},
		{
			command: "doctor",
			how:     "the credentials are missing or refused, or the namespace works with another endpoint",
			code:    exitConfig,
			environ: []string{"TENCENTCLOUD_SECRET_KEY=wrong"},
		},

		{
			command: "enqueue batch",
			how:     "all rooms enqueued, or the same rooms were enqueued under this name before",
			code:    exitOK,
			run:     "- --name new",
			stdin:   rows,
		},
		{
			command: "enqueue batch",
			how:     "rows were left out, the others are enqueued",
			code:    exitFailed,
			run:     "- --name bad",
			stdin:   badRows,
		},
		{
			command: "enqueue batch",
			how:     "with `--wait`: some snapshots failed or were canceled",
			code:    exitFailed,
			run:     "- --name failed --wait",
			stdin:   "SdkAppId,RoomId\n1400123480,9\n",
		},
		{
			command: "enqueue batch",
			how:     "with `--strict`: a row is bad, nothing was enqueued",
			code:    exitUsage,
			run:     "- --name strict --strict",
			stdin:   badRows,
		},
		{
			command: "enqueue batch",
			how:     "the name belongs to other rooms",
			code:    exitUsage,
			run:     "- --name good",
			stdin:   "SdkAppId,RoomId\n1400123480,7\n",
		},
		{
			command: "enqueue batch",
			how:     "with `--check`: every row is valid, nothing was enqueued",
			code:    exitOK,
			run:     "- --check",
			stdin:   rows,
		},
		{
			command: "enqueue batch",
			how:     "with `--check`: a row is bad, nothing was enqueued",
			code:    exitFailed,
			run:     "- --check",
			stdin:   badRows,
		},
		{command: "enqueue batch", how: "the list cannot be read or has no valid row", code: exitUsage, run: "none.csv"},
		{command: "enqueue batch", how: "Redis is full", code: exitTempFail, run: "-", stdin: rows, environ: redisAt(full)},
		{
			command: "enqueue batch",
			how:     "with `--durability replicated`: the replicas have not confirmed it",
			code:    exitTempFail,
			run:     "- --name replicated --durability replicated",
			stdin:   rows,
		},
		{
			command: "enqueue batch",
			how:     "interrupted while reading the list; nothing was enqueued",
			code:    exitTempFail,
			run:     "... TestInterruptWhileReadingStdin tests it",
		},
		{
			command: "enqueue batch",
			how:     "with `--wait`: interrupted; the work goes on",
			code:    exitTempFail,
			run:     "- --name open --wait",
			stdin:   rows,
			stop:    true,
		},
		{
			command: "enqueue batch",
			how:     "Redis evicts keys",
			code:    exitConfig,
			run:     "-",
			stdin:   rows,
			environ: redisAt(evicting),
		},

		{
			command: "enqueue room",
			how:     "enqueued, or enqueued before with the same key and parameters",
			code:    exitOK,
			run:     "--app 1400123480 --room 1 --key k",
		},
		{
			command: "enqueue room",
			how:     "with `--wait`: the snapshot failed or was canceled",
			code:    exitFailed,
			run:     "--app 1400123480 --room 9 --key failed --wait",
		},
		{command: "enqueue room", how: "the room is wrong", code: exitUsage, run: "--app 1400123480"},
		{
			command: "enqueue room",
			how:     "the key belongs to other parameters",
			code:    exitUsage,
			run:     "--app 1400123480 --room 1 --key k --width 640",
		},
		{command: "enqueue room", how: "Redis is full", code: exitTempFail, run: "--app 1 --room 1", environ: redisAt(full)},
		{
			command: "enqueue room",
			how:     "with `--durability replicated`: the replicas have not confirmed it",
			code:    exitTempFail,
			run:     "--app 1 --room 1 --key r --durability replicated",
		},
		{
			command: "enqueue room",
			how:     "with `--wait`: interrupted; the work goes on",
			code:    exitTempFail,
			run:     "--app 1400123480 --room 3 --wait",
			stop:    true,
		},
		{
			command: "enqueue room",
			how:     "Redis evicts keys",
			code:    exitConfig,
			run:     "--app 1 --room 1",
			environ: redisAt(evicting),
		},

		{command: "failures", how: "printed, even if there are none", code: exitOK},
		{command: "failures", how: "there is no such batch", code: exitUsage, run: "--batch none"},

		{command: "find", how: "found", code: exitOK, run: "9"},
		{command: "find", how: "nothing is found", code: exitFailed, run: "none"},

		{command: "images", how: "downloaded, or printed where they are", code: exitOK, run: "good"},
		{
			command: "images",
			how:     "an image is missing",
			code:    exitFailed,
			run:     "... it would take an image that Tencent has deleted",
		},
		{command: "images", how: "there is no such batch", code: exitUsage, run: "none"},
		{command: "images retry", how: "queued for copying", code: exitOK, run: "good"},
		{
			command: "images retry",
			how:     "nothing to copy",
			code:    exitFailed,
			run:     "failed",
		},
		{command: "images retry", how: "there is no such batch", code: exitUsage, run: "none"},

		{command: "first-login", how: "created, or it exists already", code: exitOK, run: "."},
		{command: "first-login", how: "the folder cannot be written", code: exitUnavailable, run: "none"},

		{command: "hash-password", how: "printed", code: exitOK, stdin: "correct horse battery\n"},
		{command: "hash-password", how: "the password is too short or too long", code: exitUsage, stdin: "x\n"},

		{command: "health", how: "the process is alive", code: exitOK, run: "--http-addr SIMULATOR"},
		{command: "health", how: "the process does not answer", code: exitUnavailable, run: "--http-addr 127.0.0.1:1"},
		{command: "health", how: "`http.addr` is empty", code: exitConfig},

		{command: "help", how: "printed", code: exitOK, run: "status"},
		{command: "help", how: "there is no such command", code: exitUsage, run: "nonsense"},

		{command: "limit", how: "shown or set", code: exitOK},
		{command: "limit", how: "the number is out of range", code: exitUsage, run: "0"},

		{command: "pause", how: "paused, or paused before", code: exitOK, run: "open"},
		{command: "pause", how: "nothing left to send", code: exitFailed, run: "good"},
		{command: "pause", how: "there is no such batch", code: exitUsage, run: "none"},
		{command: "resume", how: "resumed, or not paused", code: exitOK, run: "open"},
		{command: "resume", how: "nothing left to send", code: exitFailed, run: "good"},
		{command: "resume", how: "there is no such batch", code: exitUsage, run: "none"},

		{command: "retry", how: "queued again", code: exitOK, run: "failed --failed"},
		{
			command: "retry",
			how:     "nothing to retry, for example none with that `--code`",
			code:    exitFailed,
			run:     "failed --failed --code Typo",
		},
		{
			command: "retry",
			how:     "a snapshot that has not failed, was not canceled and is not held",
			code:    exitFailed,
			run:     "good.1",
		},
		{command: "retry", how: "there is no such snapshot or batch", code: exitUsage, run: "none"},
		{command: "retry", how: "a batch without `--failed` or `--held`", code: exitUsage, run: "good"},
		{
			command: "retry",
			how:     "interrupted; repeat the command to continue",
			code:    exitTempFail,
			run:     "... it would take a very large batch",
		},

		{
			command: "schedule list",
			how:     "printed, even if there are none",
			code:    exitOK,
			run:     "--config GOOD.yml",
		},
		{command: "audit", how: "printed, even if there are none", code: exitOK},
		{command: "schedule pause", how: "paused, or paused before", code: exitOK, run: "good --config GOOD.yml"},
		{command: "schedule pause", how: "there is no such schedule", code: exitUsage, run: "none --config GOOD.yml"},
		{command: "schedule resume", how: "resumed, or not paused", code: exitOK, run: "good --config GOOD.yml"},
		{command: "schedule resume", how: "there is no such schedule", code: exitUsage, run: "none --config GOOD.yml"},
		{command: "schedule next", how: "printed", code: exitOK, run: "good --config GOOD.yml"},
		{command: "schedule next", how: "there is no such schedule", code: exitUsage, run: "none --config GOOD.yml"},
		{command: "schedule run", how: "all rooms enqueued", code: exitOK, run: "good --config GOOD.yml"},
		{
			command: "schedule run",
			how:     "rows were left out, the others are enqueued",
			code:    exitFailed,
			run:     "bad --config GOOD.yml",
		},
		{command: "schedule run", how: "there is no such schedule", code: exitUsage, run: "none --config GOOD.yml"},
		{command: "schedule run", how: "the list cannot be read", code: exitUnavailable, run: "gone --config GOOD.yml"},
		{
			command: "schedule run",
			how:     "Redis is full",
			code:    exitTempFail,
			run:     "good --config GOOD.yml",
			environ: redisAt(full),
		},
		{
			command: "schedule run",
			how:     "Redis evicts keys",
			code:    exitConfig,
			run:     "good --config GOOD.yml",
			environ: redisAt(evicting),
		},

		{command: "simulator", how: "interrupted", code: exitOK, run: "--addr 127.0.0.1:0", stop: true},
		{command: "simulator", how: "a setting is wrong", code: exitUsage, run: "--window lunar"},
		{command: "simulator", how: "it cannot listen at its address", code: exitUnavailable, run: "--addr " + taken},
		{
			command: "simulator",
			how:     "only one of the secret id and key is set",
			code:    exitConfig,
			environ: []string{"TENCENTCLOUD_SECRET_KEY="},
		},

		{
			command: "status",
			how:     "printed, whatever the state, even if there are no batches",
			code:    exitOK,
			run:     "failed",
		},
		{command: "status", how: "there is no such snapshot or batch", code: exitUsage, run: "none"},
		{
			command: "status",
			how:     "with `--watch`: interrupted, or what it shows has ended",
			code:    exitOK,
			run:     "--watch",
			stop:    true,
		},

		{command: "stop", how: "stopped, or stopped before", code: exitOK},
		{command: "stop", how: "the reason is too long", code: exitUsage, run: "--reason " + strings.Repeat("x", 201)},
		{command: "start", how: "started, or not stopped before", code: exitOK},

		{command: "token", how: "printed", code: exitOK},
		{command: "version", how: "printed", code: exitOK},

		{command: "wait", how: "all snapshots succeeded", code: exitOK, run: "good"},
		{command: "wait", how: "some snapshots failed or were canceled", code: exitFailed, run: "cancelme"},
		{command: "wait", how: "there is no such snapshot or batch", code: exitUsage, run: "open none"},
		{command: "wait", how: "interrupted; the work goes on", code: exitTempFail, run: "open", stop: true},

		{
			command: "web",
			how:     "stopped gracefully",
			code:    exitOK,
			run:     "--http-addr FREE",
			stop:    true,
		},
		{
			command: "web",
			how:     "it cannot listen at an address",
			code:    exitUnavailable,
			environ: []string{"TIWSNAP_HTTP_ADDR=" + taken},
		},
		{command: "web", how: "`http.addr` is empty, or Redis is embedded", code: exitConfig},

		{command: "webhooks", how: "printed, even if there are none", code: exitOK},
		{command: "webhooks resend", how: "queued again", code: exitOK, run: "dead"},
		{command: "webhooks resend", how: "nothing to resend, or it is being delivered", code: exitFailed, run: "--all"},
		{command: "webhooks resend", how: "there is no such webhook", code: exitUsage, run: "none"},

		{command: "worker", how: "stopped gracefully", code: exitOK, stop: true},
		{
			command: "worker",
			how:     "it cannot listen at an address",
			code:    exitUnavailable,
			environ: []string{"TIWSNAP_HTTP_ADDR=" + taken},
		},
		{
			command: "worker",
			how:     "did not stop gracefully: see the log",
			code:    exitTempFail,
			run:     "... it would take a worker that hangs",
		},
		{
			command: "worker",
			how:     "the credentials are missing, or Redis evicts keys",
			code:    exitConfig,
			environ: []string{"TENCENTCLOUD_SECRET_ID=", "TENCENTCLOUD_SECRET_KEY="},
		},
		{
			command: "worker",
			how:     "the namespace works with another endpoint",
			code:    exitConfig,
			environ: []string{"TIWSNAP_TIW_ENDPOINT=http://127.0.0.1:1"},
		},
	}
}
