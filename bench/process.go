package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// process is a running program.
type process struct {
	cmd    *exec.Cmd
	log    *os.File
	ready  *phrase
	exited chan struct{}
	err    error // set when exited is closed
}

// startProcess starts a program, which is ready when it has printed the text ready. Its output goes to the file log.
func startProcess(log, ready string, environ []string, program string, args ...string) (*process, error) {
	f, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	p := &process{log: f, exited: make(chan struct{})}
	p.ready = &phrase{file: f, words: []byte(ready), seen: make(chan struct{})}
	p.cmd = exec.Command(program, args...)
	p.cmd.Env = environ
	p.cmd.Stdout, p.cmd.Stderr = p.ready, p.ready
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		f.Close()
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		f.Close()
		close(p.exited)
	}()
	return p, nil
}

// await waits until the program is ready.
func (p *process) await(ctx context.Context) error {
	select {
	case <-p.ready.seen:
		return nil
	case <-p.exited:
		return fmt.Errorf("%s ended at its start: %v\n%s", p.cmd.Path, p.err, tail(p.log.Name()))
	case <-ctx.Done():
		return fmt.Errorf("%s did not get ready: %w\n%s", p.cmd.Path, ctx.Err(), tail(p.log.Name()))
	}
}

// stopAll sends SIGTERM to programs and waits until they end. After 20 s it kills them.
func stopAll(all []*process) error {
	for _, p := range all {
		p.cmd.Process.Signal(syscall.SIGTERM)
	}
	late := time.AfterFunc(20*time.Second, func() {
		for _, p := range all {
			p.cmd.Process.Kill()
		}
	})
	defer late.Stop()
	var errs []error
	for _, p := range all {
		<-p.exited
		if p.err != nil {
			errs = append(errs, fmt.Errorf("%s: %w\n%s", filepath.Base(p.log.Name()), p.err, tail(p.log.Name())))
		}
	}
	return errors.Join(errs...)
}

// tail returns the end of a file.
func tail(name string) []byte {
	b, _ := os.ReadFile(name)
	return tailOf(b)
}

// tailOf returns the end of a program's output.
func tailOf(out []byte) []byte {
	const most = 2000
	return out[max(0, len(out)-most):]
}

// phrase writes to a file and closes seen when the words have been written.
type phrase struct {
	file  *os.File
	words []byte
	seen  chan struct{}

	mu   sync.Mutex
	last []byte // the end of the output, which may be the start of the words
	done bool
}

func (p *phrase) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.done {
		p.last = append(p.last, b...)
		if bytes.Contains(p.last, p.words) {
			p.done, p.last = true, nil
			close(p.seen)
		} else {
			p.last = bytes.Clone(p.last[max(0, len(p.last)-len(p.words)):])
		}
	}
	return p.file.Write(b)
}
