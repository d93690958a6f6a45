package cli

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/hibiken/asynq"
	"github.com/spf13/cobra"

	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/tiw/tiwtest"
)

// docs/cli.md must have a row for every exit case, and every command must have an exit case.
func TestDocsListExitCodes(t *testing.T) {
	all := exitCases("", "", "")

	t.Run("docs/cli.md has the same rows", func(t *testing.T) {
		text, err := os.ReadFile("../docs/cli.md")
		if err != nil {
			t.Fatal(err)
		}
		var want, got []string
		for _, x := range slices.Concat(commonExitCases, all) {
			command := "`" + x.command + "`"
			if x.command == "" {
				command = "any"
			}
			want = append(want, fmt.Sprintf("| %s | %s | %d |", command, x.how, x.code))
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
				t.Errorf("docs/cli.md has a row that is not in exitCases:\n%s", row)
			}
		}
	})

	t.Run("every command has a row", func(t *testing.T) {
		everyCommand(func(cmd *cobra.Command) {
			name := strings.TrimPrefix(cmd.CommandPath(), "tiwsnap ")
			if cmd.Runnable() && !cmd.HasSubCommands() &&
				!slices.ContainsFunc(all, func(x exitCase) bool { return x.command == name }) {
				t.Errorf(
					"%q has no row: add its exit codes to exitCases in exit_cases_test.go and to docs/cli.md",
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
	s.prepareExitCases()
	for _, x := range exitCases(full.URL(), evicting.URL(), listener.Addr().String()) {
		if strings.HasPrefix(x.run, "... ") {
			continue
		}
		site := s
		for _, pair := range x.environ {
			name, value, _ := strings.Cut(pair, "=")
			site = site.withVariable(name, value)
		}
		words := strings.NewReplacer(
			"SIMULATOR", strings.TrimPrefix(s.sim.URL, "http://"), "FREE", redistest.FreeAddr(t),
		).Replace(x.run)
		args := slices.Concat(strings.Fields(x.command), strings.Fields(words))
		code, text := site.runToEnd(x.stdin, x.stop, args)
		if code != x.code {
			t.Errorf("tiwsnap %s, %s: exit code %d, want %d\n%s", strings.Join(args, " "), x.how, code, x.code, text)
		}
		if code != exitOK && !strings.Contains(text, "tiwsnap: ") && code != exitFailed && x.command != "doctor" ||
			strings.TrimSpace(text) == "" {
			t.Errorf("tiwsnap %s, %s: no reason is printed:\n%s", strings.Join(args, " "), x.how, text)
		}
	}
}

// prepareExitCases creates what the exit cases use: the batches good (succeeded), failed and cancelme, a dead webhook,
// and files. Its worker has stopped, so nothing is sent afterwards.
func (s site) prepareExitCases() {
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
	stop := s.startWorker()
	s.enqueueBatch("good", 2)
	s.mustRun("wait", "good")
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
	s.enqueueBatch("cancelme", 1)

	c := s.client()
	if _, err := asynq.NewClientFromRedisClient(c).EnqueueContext(s.Context(), asynq.NewTask("x", nil),
		asynq.TaskID("dead"), asynq.Queue(keys.Default.QueueWebhooks())); err != nil {
		s.Fatal(err)
	}
	if err := asynq.NewInspectorFromRedisClient(c).ArchiveTask(keys.Default.QueueWebhooks(), "dead"); err != nil {
		s.Fatal(err)
	}
}
