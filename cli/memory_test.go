package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/internal/testbed"
	"tiwsnap/tiw/tiwtest"
	"tiwsnap/web/api"
)

// A worker accepts a list of two million rooms, which is the maximum, and its memory is bounded. This also holds if a
// JSON body has the rooms before the name and the defaults.
func TestWorkerMemoryIsBounded(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	needs.Program(t, "redis-server")
	if runtime.GOOS != "linux" {
		needs.Skip(t, "no /proc on this machine")
	}
	binary, err := testbed.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	const rooms = 2_000_000
	// The labels look like hashes, so that they do not compress.
	row := func(w io.Writer, format string, n uint64) {
		x := (n + 1) * 0x9e3779b97f4a7c15
		fmt.Fprintf(w, format, uint32(n+1)*2654435769, x, x*x)
	}
	t.Run("CSV", func(t *testing.T) {
		checkMemory(t, binary, "text/csv", "?name=big", rooms, func(w io.Writer) {
			fmt.Fprintln(w, "SdkAppId,RoomId,Label.Class")
			for n := range uint64(rooms) {
				row(w, "1400123480,%d,%016x%016x\n", n)
			}
		})
	})
	t.Run("JSON with the rooms first", func(t *testing.T) {
		checkMemory(t, binary, "application/json", "", rooms, func(w io.Writer) {
			io.WriteString(w, `{"rooms":[`)
			for n := range uint64(rooms) {
				if n > 0 {
					io.WriteString(w, ",")
				}
				row(w, `{"RoomId":%d,"Label":{"Class":"%016x%016x"}}`, n)
			}
			io.WriteString(w, `],"name":"big","defaults":{"SdkAppId":1400123480}}`)
		})
	})
}

// checkMemory uploads a list as the batch big to a new worker, and measures the worker's peak memory.
func checkMemory(t *testing.T, binary, media, query string, rooms int, write func(io.Writer)) {
	// A little more than a third is the program itself, which the kernel maps and can drop.
	const most = 80_000_000
	s := newSiteOn(t, redistest.Real(t).URL(), tiwtest.Options{})
	addr := redistest.FreeAddr(t)
	s.environ["TIWSNAP_HTTP_ADDR"] = addr
	s.environ["TIWSNAP_WORKER_SPOOL"] = t.TempDir()
	environ := variables(s.environ)()
	if path := os.Getenv("TMPDIR"); path != "" {
		environ = append(environ, "TMPDIR="+path)
	}
	worker := exec.CommandContext(t.Context(), binary, "worker")
	worker.Env = environ
	log, err := worker.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(log)
	for lines.Scan() && !strings.Contains(lines.Text(), "serving HTTP") {
	}
	ended := make(chan error)
	go func() {
		io.Copy(io.Discard, log)
		ended <- worker.Wait()
	}()

	list, body := io.Pipe()
	go func() {
		w := bufio.NewWriterSize(body, 64<<10)
		write(w)
		body.CloseWithError(w.Flush())
	}()
	// Two million rooms take a busy machine longer than other requests may take.
	resp, err := (&http.Client{Timeout: 5 * time.Minute}).Post("http://"+addr+"/v1/batches"+query, media, list)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var got api.Enqueued
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || got.Rooms != rooms {
		t.Errorf("status %d, %d rooms, %v", resp.StatusCode, got.Rooms, err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", worker.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, peak, _ := bytes.Cut(status, []byte("VmHWM:"))
	var kB int
	if _, err := fmt.Sscan(string(peak), &kB); err != nil || kB<<10 > most {
		t.Errorf("peak memory %d kB, want at most %d bytes (%v)", kB, most, err)
	}
	t.Logf("peak memory: %d kB", kB)

	s.mustRun("cancel", "big")
	worker.Process.Signal(syscall.SIGTERM)
	if err := <-ended; err != nil {
		t.Errorf("worker: %v", err)
	}
}
