package cli

import (
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/tiw/tiwtest"
)

// Ctrl-C at a password prompt ends the command and turns the terminal's echo on again.
func TestInterruptAtAPrompt(t *testing.T) {
	t.Parallel()
	for _, typed := range []string{"", "secret one\n"} { // at the first prompt, and at the second
		tty, master := openTerminal(t)
		cmd := program(t, "", "hash-password")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		kill := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
		defer kill.Stop()
		echoes := func() bool {
			state, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
			if err != nil {
				t.Fatal(err)
			}
			return state.Lflag&unix.ECHO != 0
		}
		shown := newExpect(master)
		shown.until(t, "Password: ")
		redistest.Until(t, "the password cannot be seen", func() bool { return !echoes() })
		io.WriteString(master, typed)
		if typed != "" {
			shown.until(t, "Again: ")
		}
		io.WriteString(master, "\x03")
		cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != exitTempFail {
			t.Errorf("exit code %d, want %d:\n%s", code, exitTempFail, shown.text())
		}
		if !echoes() {
			t.Error("the terminal shows nothing of what is typed")
		}
	}
}

// expect collects the output of a terminal.
type expect struct {
	mu   sync.Mutex
	all  bytes.Buffer
	more chan struct{}
}

func newExpect(master *os.File) *expect {
	x := &expect{more: make(chan struct{}, 1)}
	go io.Copy(x, master)
	return x
}

func (x *expect) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	select {
	case x.more <- struct{}{}:
	default:
	}
	return x.all.Write(p)
}

func (x *expect) text() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.all.String()
}

// until waits until the output has a text.
func (x *expect) until(t *testing.T, want string) {
	t.Helper()
	late := time.After(30 * time.Second)
	for !strings.Contains(x.text(), want) {
		select {
		case <-x.more:
		case <-late:
			t.Fatalf("the terminal does not show %q:\n%s", want, x.text())
		}
	}
}

// silentInput closes read when it is read, and never returns data.
type silentInput struct {
	read chan struct{}
	once sync.Once
	ctx  context.Context
}

func (s *silentInput) Read([]byte) (int, error) {
	s.once.Do(func() { close(s.read) })
	<-s.ctx.Done()
	return 0, io.EOF
}

// An interrupt also ends a command that waits for stdin.
func TestInterruptWhileStdinIsRead(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	for _, args := range [][]string{
		{"enqueue", "batch", "-", "--name", "b"}, {"enqueue", "batch", "-", "--strict"},
		{"enqueue", "batch", "-", "-o", "json", "--wait"}, {"demo", "--rooms", "-"}, {"hash-password"},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		in := &silentInput{read: make(chan struct{}), ctx: t.Context()}
		go func() { <-in.read; cancel() }()
		var out, errs bytes.Buffer
		code := run(ctx, args, env{in, &out, &errs, variables(s.environ)})
		if code != exitTempFail || out.Len() > 0 || !strings.Contains(errs.String(), "interrupted") {
			t.Errorf("tiwsnap %v: exit code %d, %q, %q", args, code, out.String(), errs.String())
		}
		cancel()
	}
	if out := s.ok("status", "-o", "jsonl"); out != "" {
		t.Errorf("something was enqueued: %s", out)
	}
}
