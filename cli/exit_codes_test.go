package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hibiken/asynq"
	"github.com/spf13/cobra"

	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/tiw/tiwtest"
)

// ending is an outcome of a command, and a row of docs/cli.md.
type ending struct {
	command string
	how     string
	code    int
	run     string // its arguments, or after ... the reason why no test runs it
	stdin   string
	environ []string // NAME=value, overriding those of the site
	stop    bool     // it is interrupted after its first output
}

// anyCommand has the rows that apply to all commands. TestEveryCommandEndsLikeTheOthers, TestOutputThatCannotBeWritten
// and TestInterrupt… test them.
var anyCommand = []ending{
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

// endings returns all other rows, in the order of "tiwsnap -h". A new command needs rows of its own here.
func endings(full, evicting, taken string) []ending {
	at := func(redisURL string) []string { return []string{"TIWSNAP_REDIS_URL=" + redisURL} }
	return []ending{
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
			environ: []string{"TIWSNAP_TIW_ENDPOINT=http://127.0.0.1:1"},
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
		{command: "enqueue batch", how: "Redis is full", code: exitTempFail, run: "-", stdin: rows, environ: at(full)},
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
			run:     "... TestInterruptWhileStdinIsRead does",
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
			environ: at(evicting),
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
		{command: "enqueue room", how: "Redis is full", code: exitTempFail, run: "--app 1 --room 1", environ: at(full)},
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
			environ: at(evicting),
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
			environ: at(full),
		},
		{
			command: "schedule run",
			how:     "Redis evicts keys",
			code:    exitConfig,
			run:     "good --config GOOD.yml",
			environ: at(evicting),
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

// docs/cli.md must have a row for every ending, and every command must have an ending.
func TestDocsHaveEveryEnding(t *testing.T) {
	all := endings("", "", "")

	t.Run("docs/cli.md has them all", func(t *testing.T) {
		text, err := os.ReadFile("../docs/cli.md")
		if err != nil {
			t.Fatal(err)
		}
		var want, got []string
		for _, x := range slices.Concat(anyCommand, all) {
			who := "`" + x.command + "`"
			if x.command == "" {
				who = "any"
			}
			want = append(want, fmt.Sprintf("| %s | %s | %d |", who, x.how, x.code))
		}
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); strings.HasSuffix(line, " |") && strings.Trim(line, "|- ") != "" &&
				!strings.HasPrefix(line, "| command") {
				if cells := strings.Split(line, "|"); len(cells) == 5 && len(strings.TrimSpace(cells[3])) <= 2 {
					got = append(got, line)
				}
			}
		}
		for _, row := range want {
			if !slices.Contains(got, row) {
				t.Errorf("docs/cli.md lacks the row\n%s", row)
			}
		}
		for _, row := range got {
			if !slices.Contains(want, row) {
				t.Errorf("docs/cli.md has a row that is not in endings of this test:\n%s", row)
			}
		}
	})

	t.Run("no command is left out", func(t *testing.T) {
		everyCommand(func(cmd *cobra.Command) {
			name := strings.TrimPrefix(cmd.CommandPath(), "tiwsnap ")
			if cmd.Runnable() && !cmd.HasSubCommands() &&
				!slices.ContainsFunc(all, func(x ending) bool { return x.command == name }) {
				t.Errorf(
					"%q has no row: give its ways to end to endings in exit_codes_test.go and to docs/cli.md",
					name,
				)
			}
		})
	})
}

// Every command must exit with the code in docs/cli.md.
func TestExitCodes(t *testing.T) {
	needs.Time(t)
	full := redistest.Real(t, "--maxmemory", "1mb")
	evicting := redistest.Real(t, "--maxmemory-policy", "volatile-lru")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	s := newSite(t, tiwtest.Options{})
	s.prepare()
	for _, x := range endings(full.URL(), evicting.URL(), listener.Addr().String()) {
		if strings.HasPrefix(x.run, "... ") {
			continue
		}
		site := s
		for _, pair := range x.environ {
			name, value, _ := strings.Cut(pair, "=")
			site = site.but(name, value)
		}
		words := strings.NewReplacer(
			"SIMULATOR", strings.TrimPrefix(s.sim.URL, "http://"), "FREE", redistest.FreeAddr(t),
		).Replace(x.run)
		args := slices.Concat(strings.Fields(x.command), strings.Fields(words))
		code, text := site.ends(x.stdin, x.stop, args)
		if code != x.code {
			t.Errorf("tiwsnap %s, %s: exit code %d, want %d\n%s", strings.Join(args, " "), x.how, code, x.code, text)
		}
		if code != exitOK && !strings.Contains(text, "tiwsnap: ") && code != exitFailed && x.command != "doctor" ||
			strings.TrimSpace(text) == "" {
			t.Errorf("tiwsnap %s, %s: it does not say why:\n%s", strings.Join(args, " "), x.how, text)
		}
	}
}

// prepare creates what the endings use: the batches good (succeeded), failed and cancelme, a dead webhook, and files.
// Its worker has stopped, so nothing is sent afterwards.
func (s site) prepare() {
	s.Helper()
	s.Chdir(s.TempDir())
	list := httptest.NewServer(
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, badRows) }),
	)
	s.Cleanup(list.Close)
	for name, text := range map[string]string{
		"GOOD.csv": "SdkAppId,RoomId\n1400123480,1\n",
		"BAD.csv":  badRows,
		"GOOD.yml": `
schedules:
  - {name: good, cron: "0 1 * * *", rooms: {list: "RoomId\n1\n"}, defaults: {SdkAppId: 1400123480}}
  - {name: bad, cron: "0 1 * * *", rooms: {url: "` + list.URL + `"}, defaults: {SdkAppId: 1400123480}}
  - {name: gone, cron: "0 1 * * *", rooms: {url: "http://127.0.0.1:1/list.csv"}, defaults: {SdkAppId: 1400123480}}
`,
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			s.Fatal(err)
		}
	}
	stop := s.worker()
	s.batch("good", 2)
	s.ok("wait", "good")
	if err := s.sim.SetFaults(tiwtest.Faults{Code: 1, CodeName: "InvalidParameter"}); err != nil {
		s.Fatal(err)
	}
	if code, _, stderr := s.run("SdkAppId,RoomId\n1400123480,9\n", "enqueue", "batch", "-", "--name", "failed",
		"--wait"); code != exitFailed {
		s.Fatal(stderr)
	}
	if code, _, stderr := s.run("", "enqueue", "room", "--app", "1400123480", "--room", "9", "--key", "failed",
		"--wait"); code != exitFailed {
		s.Fatal(stderr)
	}
	stop()
	s.batch("cancelme", 1)

	c := s.client()
	if _, err := asynq.NewClientFromRedisClient(c).EnqueueContext(s.Context(), asynq.NewTask("x", nil),
		asynq.TaskID("dead"), asynq.Queue(keys.Default.QueueWebhooks())); err != nil {
		s.Fatal(err)
	}
	if err := asynq.NewInspectorFromRedisClient(c).ArchiveTask(keys.Default.QueueWebhooks(), "dead"); err != nil {
		s.Fatal(err)
	}
}

// but returns the site with another value of a variable.
func (s site) but(name, value string) site {
	s.environ = maps.Clone(s.environ)
	s.environ[name] = value
	return s
}

// ends runs a command to its end and returns its output. With stop, it interrupts the command after its first output.
func (s site) ends(stdin string, stop bool, args []string) (code int, text string) {
	ctx, cancel := context.WithCancel(s.Context())
	defer cancel()
	var mu sync.Mutex
	var b strings.Builder
	w := writerFunc(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		if stop && len(p) > 0 {
			cancel()
		}
		return b.Write(p)
	})
	code = run(ctx, args, env{strings.NewReader(stdin), w, w, variables(s.environ)})
	return code, b.String()
}

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

// TestEveryCommandEndsLikeTheOthers tests what is the same for all commands. Help has examples. Unknown flags,
// arguments and formats, bad settings and an unreachable Redis are errors.
func TestEveryCommandEndsLikeTheOthers(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	least := map[string]string{ // required arguments
		"again": "a", "cancel": "a", "find": "1", "first-login": "none", "images": "a", "images retry": "a",
		"pause": "a", "resume": "a", "retry": "a", "wait": "a", "webhooks resend": "a",
		"enqueue batch": "-", "enqueue room": "--app 1 --room 1",
		"schedule next": "a", "schedule pause": "a", "schedule resume": "a", "schedule run": "a",
	}
	silent := []string{
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
				return slices.Concat(strings.Fields(name), strings.Fields(least[name]), more)
			}
			endsOn := func(s site, code int, words string, args ...string) {
				t.Helper()
				if got, text := s.ends("", false, args); got != code || !strings.Contains(text, words) {
					t.Errorf("tiwsnap %s: exit code %d, want %d; it does not say %q:\n%s",
						strings.Join(args, " "), got, code, words, text)
				}
			}
			ends := func(code int, words string, args ...string) { t.Helper(); endsOn(s, code, words, args...) }
			if !strings.Contains(cmd.Example, "tiwsnap") {
				t.Errorf("the help of %q has no examples: give it an Example", name)
			}
			for line := range strings.Lines(cmd.Example) {
				if !strings.HasPrefix(line, "  ") || len(line) > 120 {
					t.Errorf("an example of %q is not indented by two blanks, or too long: %q", name, line)
				}
			}
			ends(exitOK, "EXAMPLES:\n", with("-h")...)
			ends(exitUsage, "unknown flag", with("--nonsense")...)
			if name != "" {
				ends(exitUsage, "", strings.Fields(name+" nonsense nonsense nonsense -o nonsense")...)
			}
			if f := cmd.Flags().Lookup("output"); f == nil {
				if cmd.Runnable() && !slices.Contains(silent, name) {
					t.Errorf("%q prints, and has no -o json", name)
				}
			} else if !strings.Contains(f.Usage, "json") {
				t.Errorf("%q has no -o json", name)
			} else if name != "doctor" {
				ends(exitUsage, "--output \"nonsense\"", with("-o", "nonsense")...)
			}
			if cmd.Flags().Lookup("redis-url") != nil && cmd.Runnable() {
				if name != "config check" && name != "config print" {
					endsOn(s.but("TIWSNAP_REDIS_URL", "redis://127.0.0.1:1"), exitUnavailable, "127.0.0.1:1", with()...)
				}
				endsOn(s.but("TIWSNAP_RATE_LIMIT", "nonsense"), exitConfig, "TIWSNAP_RATE_LIMIT", with()...)
			}
		})
	})
	for _, args := range [][]string{
		{"nonsense"}, {"enqueue", "bathc", "x.csv"}, {"webhooks", "resnd"}, {"completion", "bsh"}, {"help", "nonsense"},
	} {
		if code, text := s.ends("", false, args); code != exitUsage || !strings.Contains(text, "command") {
			t.Errorf("tiwsnap %v: exit code %d\n%s", args, code, text)
		}
	}
}
