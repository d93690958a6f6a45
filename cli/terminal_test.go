package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tiwsnap/internal/needs"
)

// openTerminal opens a pseudoterminal of 40 lines. master is the user's end.
func openTerminal(t *testing.T) (tty, master *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		needs.Skip(t, "no /dev/ptmx on this machine")
	}
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: 200}); err != nil {
		t.Fatal(err)
	}
	if tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close(); master.Close() })
	return tty, master
}

// terminal opens a pseudoterminal of 40 lines. read returns everything that was written to it. The others receive the
// same data as it arrives.
func terminal(t *testing.T, others ...io.Writer) (tty *os.File, read func() string) {
	t.Helper()
	tty, master := openTerminal(t)
	var text bytes.Buffer
	all := io.MultiWriter(append(others, &text)...)
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.Copy(all, master) // until the other end is closed
	}()
	return tty, func() string {
		t.Helper()
		tty.Close()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Fatal("the terminal is still being written after 10 s")
		}
		return strings.ReplaceAll(text.String(), "\r\n", "\n")
	}
}

// onTerminal runs a command with both outputs on a terminal.
func (s site) onTerminal(args ...string) (code int, shown string) {
	s.Helper()
	tty, read := terminal(s.T)
	code = run(s.Context(), args, env{strings.NewReader(""), tty, tty, variables(s.environ)})
	return code, read()
}

// transcript collects the output of a terminal.
type transcript struct {
	mu   sync.Mutex
	all  bytes.Buffer
	more chan struct{}
}

func newTranscript(master *os.File) *transcript {
	x := &transcript{more: make(chan struct{}, 1)}
	go io.Copy(x, master)
	return x
}

func (x *transcript) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	select {
	case x.more <- struct{}{}:
	default:
	}
	return x.all.Write(p)
}

func (x *transcript) text() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.all.String()
}

// waitFor waits until the output has a text.
func (x *transcript) waitFor(t *testing.T, want string) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for !strings.Contains(x.text(), want) {
		select {
		case <-x.more:
		case <-deadline:
			t.Fatalf("the terminal does not show %q:\n%s", want, x.text())
		}
	}
}
