package main

import (
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"tiwsnap/internal/needs"
)

// workerEnv makes the test binary act as a worker that waits for SIGTERM, or as one that exits at once.
const workerEnv = "CHAOS_TEST_WORKER"

func TestMain(m *testing.M) {
	switch os.Getenv(workerEnv) {
	case "waits":
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, syscall.SIGTERM)
		fmt.Fprintf(os.Stderr, "worker %d\n", os.Getpid())
		select {
		case <-signals:
			os.Exit(0)
		case <-time.After(time.Minute):
			os.Exit(1)
		}
	case "exits":
		os.Exit(3)
	}
	os.Exit(m.Run())
}

func startFleet(t *testing.T, does string) (*fleet, *worker) {
	f, err := newFleet(1, os.Args[0], t.TempDir(), append(os.Environ(), workerEnv+"="+does))
	if err != nil {
		t.Fatal(err)
	}
	f.start()
	t.Cleanup(func() { f.stop(10 * time.Second) })
	return f, f.workers[0]
}

// awaitUp waits until the worker has a process that handles SIGTERM.
func awaitUp(t *testing.T, w *worker) {
	t.Helper()
	for pause(t.Context(), time.Millisecond) {
		pid, _, ok := w.signal(0)
		log, _ := os.ReadFile(w.log)
		if ok && strings.Contains(string(log), fmt.Sprintf("worker %d\n", pid)) {
			return
		}
	}
	t.Fatal("the worker did not start")
}

func TestFleet(t *testing.T) {
	needs.Time(t)
	t.Run("a worker that was killed or terminated is restarted and does not count as dead", func(t *testing.T) {
		f, w := startFleet(t, "waits")
		for _, s := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
			awaitUp(t, w)
			_, exited, ok := w.signal(s)
			if !ok {
				t.Fatalf("%v was not sent", s)
			}
			<-exited
		}
		awaitUp(t, w)
		f.stop(10 * time.Second)
		if _, _, ok := w.signal(0); ok {
			t.Error("a process is left after stop")
		}
		if died := f.deaths(); len(died) != 0 {
			t.Errorf("deaths() = %q, want none", died)
		}
	})

	t.Run("a worker that ends by itself is reported", func(t *testing.T) {
		f, _ := startFleet(t, "exits")
		for len(f.deaths()) == 0 && pause(t.Context(), time.Millisecond) {
		}
		if died := f.deaths(); len(died) == 0 || !strings.Contains(died[0], "worker 1 ended by itself: exit status 3") {
			t.Errorf("deaths() = %q, want worker 1 with exit status 3", died)
		}
	})

	t.Run("a stopped worker does not outlive the fleet", func(t *testing.T) {
		f, w := startFleet(t, "waits")
		awaitUp(t, w)
		w.signal(syscall.SIGSTOP)
		f.stop(10 * time.Second)
		if _, _, ok := w.signal(0); ok {
			t.Error("a process is left after stop")
		}
	})
}
