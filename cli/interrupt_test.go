package cli

import (
	"bytes"
	"context"
	"io"
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
func TestInterruptAtPrompt(t *testing.T) {
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
		shown := newTranscript(master)
		shown.waitFor(t, "Password: ")
		redistest.Until(t, "echo is off", func() bool { return !echoes() })
		io.WriteString(master, typed)
		if typed != "" {
			shown.waitFor(t, "Again: ")
		}
		io.WriteString(master, "\x03")
		cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != exitTempFail {
			t.Errorf("hash-password: exit code %d, want %d:\n%s", code, exitTempFail, shown.text())
		}
		if !echoes() {
			t.Error("the terminal's echo is still off")
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
func TestInterruptWhileReadingStdin(t *testing.T) {
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
	if out := s.mustRun("status", "-o", "jsonl"); out != "" {
		t.Errorf("batches after the interrupts: %s", out)
	}
}
