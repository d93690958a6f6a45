package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"tiwsnap/enqueue"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
	"tiwsnap/tiw/tiwtest"
)

const (
	imagesEach = 3       // images of a room
	imageBytes = 300_000 // of one
)

// imagesStore is where a worker copies images to.
type imagesStore struct {
	name     string
	settings []string // NAME=value; none: there is no store
	dir      string   // in which the copies lie
}

// measureImages measures what it costs to copy images as they come, and whether
// sending is held up: the same batch without a store, with a folder, and with an S3
// server where there is one. Then what an archive of 10,000 images takes.
func measureImages(ctx context.Context, r *recorder) (err error) {
	n := 600
	if r.Short {
		n = 150
	}
	none, err := r.copying(ctx, imagesStore{name: "no store"}, n, nil)
	if err != nil {
		return err
	}
	dir := filepath.Join(r.dir, "boards")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	folder := imagesStore{"a folder", []string{"TIWSNAP_IMAGES_STORE=file://" + dir}, dir}
	if _, err := r.copying(ctx, folder, n, none); err != nil {
		return err
	}
	if err := r.archives(ctx); err != nil {
		return err
	}
	s3, stop, err := r.startS3(ctx)
	if err != nil {
		return err
	}
	defer stop()
	_, err = r.copying(ctx, s3, n, none)
	return err
}

// startS3 starts an S3 server over a folder.
func (r *recorder) startS3(ctx context.Context) (s imagesStore, stop func(), err error) {
	program, err := exec.LookPath("versitygw")
	if err != nil {
		return s, nil, &missingError{
			"copies in S3 need versitygw (go install github.com/versity/versitygw/cmd/versitygw@latest)",
		}
	}
	dir := filepath.Join(r.dir, "s3")
	if err := os.MkdirAll(filepath.Join(dir, "boards"), 0o755); err != nil {
		return s, nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return s, nil, err
	}
	addr := l.Addr().String()
	l.Close()
	const key, secret = "bench", "bench-secret"
	cmd := exec.Command(program, "--quiet", "--port", addr, "--access", key, "--secret", secret, "posix", dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return s, nil, err
	}
	stop = func() {
		cmd.Process.Kill()
		cmd.Wait()
	}
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err == nil {
			conn.Close()
			break
		}
		if !pause(ctx, 50*time.Millisecond) {
			stop()
			return s, nil, fmt.Errorf("versitygw does not listen: %w", err)
		}
	}
	return imagesStore{"S3", []string{
		"TIWSNAP_IMAGES_STORE=s3://boards?region=us-east-1&endpoint=" + url.QueryEscape("http://"+addr),
		"TIWSNAP_IMAGES_ACCESS_KEY_ID=" + key, "TIWSNAP_IMAGES_SECRET_ACCESS_KEY=" + secret,
	}, filepath.Join(dir, "boards")}, stop, nil
}

// copyingCost is what a drain took.
type copyingCost struct {
	cpu  float64       // of the worker, of a core, %
	span time.Duration // from the first request to the last
}

// copying drains n rooms with three images each by one process, which copies them
// where there is a store. without is what the same took without one.
func (r *recorder) copying(
	ctx context.Context, store imagesStore, n int, without *copyingCost,
) (c *copyingCost, err error) {
	o := referee()
	o.Images, o.ImageBytes = imagesEach, imageBytes
	s, err := r.newStage(strings.ReplaceAll(store.name, " ", "-"), o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	s.Environ = append(s.Environ, "TIWSNAP_IMAGES_PRIVATE=127.0.0.1")
	s.Environ = append(s.Environ, store.settings...)
	ctx, cancel := context.WithTimeout(ctx, time.Minute+time.Duration(n)*200*time.Millisecond)
	defer cancel()
	if err := s.startWorkers(ctx, 1); err != nil {
		return nil, err
	}
	if err := settled(ctx); err != nil {
		return nil, err
	}
	start := time.Now()
	stalls := watchStalls(ctx, start)
	if err := s.smallBoards(ctx, "images", n); err != nil {
		return nil, err
	}
	if err := s.Sim.WaitCalls(ctx, 2*capacity); err != nil { // results come in by then
		return nil, err
	}
	cpu, err := s.workersCPU()
	if err != nil {
		return nil, err
	}
	from := time.Now()
	waiting := s.watchWaiting(ctx, "images")
	if err := s.Sim.WaitCalls(ctx, n); err != nil {
		return nil, err
	}
	used, err := s.workersCPU()
	if err != nil {
		return nil, err
	}
	c = &copyingCost{cpu: percent((used - cpu).Seconds(), time.Since(from).Seconds())}
	b, err := s.ended(ctx, "images")
	if err != nil {
		return nil, err
	}
	for store.dir != "" && b.CopiedImages+b.LostImages < imagesEach*n {
		if !pause(ctx, 20*time.Millisecond) {
			return nil, fmt.Errorf("%d of %d images are copied: %w", b.CopiedImages, imagesEach*n, ctx.Err())
		}
		if b, err = ledger.New(s.DB, ledger.Options{}).Batch(ctx, "images"); err != nil {
			return nil, err
		}
	}
	copied := time.Since(b.EndedAt)
	most, held := waiting(), stalls()
	memory, err := peakMemory(s.workers[0].cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	calls := s.Sim.Calls()
	times := timesOf(calls, anyCall)
	c.span = times[len(times)-1].Sub(times[0])
	create := s.Sim.State().Actions[tiwtest.ActionCreate]

	r.add(store.name+": the worker, of a core", c.cpu, "%", noted)
	if without != nil {
		r.add(store.name+": of it the copying, of a core", c.cpu-without.cpu, "%", atMost(40))
	}
	r.add(store.name+": the worker's memory at most", float64(memory)/1e6, "MB", atMost(100))
	r.add(store.name+": first to last request", c.span.Seconds(), "s", atMost(floor(n, capacity).Seconds()+0.8))
	r.add(store.name+": rejected", float64(create.Rejected), "", atMost(0))
	r.add(store.name+": fullest second", float64(create.Received.SlidingSecond.Calls), "", atMost(capacity))
	if over := tiwtest.Over(calls, capacity, start, held); over > 0 {
		r.broke("%s: %d times more than %d requests in a second", store.name, over, capacity)
	}
	if store.dir == "" {
		return c, nil
	}
	r.add(store.name+": images that waited for their copy at most", float64(most), "", noted)
	r.add(store.name+": end of the batch to its last copy", copied.Seconds(), "s", atMost(2))
	r.add(store.name+": images lost", float64(b.LostImages), "", atMost(0))
	there, whole, err := countImages(filepath.Join(store.dir, "images"))
	if err != nil || there != imagesEach*n || whole != there {
		r.broke("%s: %d images lie there, %d of them whole, and there are %d: %v", store.name, there, whole,
			imagesEach*n, err)
	}
	return c, nil
}

// smallBoards enqueues n rooms whose boards take the simulator little time to draw.
func (s *stage) smallBoards(ctx context.Context, id string, n int) error {
	small := iter.Seq2[tasks.Room, error](func(yield func(tasks.Room, error) bool) {
		for room, err := range rooms(firstRoom, n) {
			room.Whiteboard = &tasks.Whiteboard{Width: new(uint64(160)), Height: new(uint64(90))}
			if !yield(room, err) {
				return
			}
		}
	})
	_, err := s.queue.Batch(ctx, small, enqueue.BatchOptions{ID: id})
	return err
}

// watchWaiting watches how many images of a batch wait for their copies, until the
// function that it returns is called: it returns the most.
func (s *stage) watchWaiting(ctx context.Context, id string) func() int {
	ctx, cancel := context.WithCancel(ctx)
	most := make(chan int, 1)
	go func() {
		n := 0
		for pause(ctx, 200*time.Millisecond) {
			if b, err := ledger.New(s.DB, ledger.Options{}).Batch(ctx, id); err == nil {
				n = max(n, b.PendingImages)
			}
		}
		most <- n
	}()
	return func() int {
		cancel()
		return <-most
	}
}

// countImages counts the images below a folder, and those that have their full size.
func countImages(dir string) (there, whole int, err error) {
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".png" {
			return err
		}
		there++
		info, err := e.Info()
		if err == nil && info.Size() == imageBytes {
			whole++
		}
		return err
	})
	return there, whole, err
}

// archives measures what an archive of 10,000 images takes: of a process that serves
// it, and of the command.
func (r *recorder) archives(ctx context.Context) (err error) {
	n := 10_000
	if r.Short {
		n = 1_500
	}
	dir := filepath.Join(r.dir, "many")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	s, err := r.newStage("archive", tiwtest.Options{Limit: -1, Images: imagesEach, ImageBytes: imageBytes})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	s.Environ = append(s.Environ, fmt.Sprint("TIWSNAP_RATE_LIMIT=", uncapped), "TIWSNAP_IMAGES_PRIVATE=127.0.0.1",
		"TIWSNAP_IMAGES_STORE=file://"+dir, "TIWSNAP_IMAGES_RATE=5000,2000MB")
	if err := s.startWorkers(ctx, 1); err != nil {
		return err
	}
	rooms := (n + imagesEach - 1) / imagesEach
	begin := time.Now()
	if err := s.smallBoards(ctx, "archive", rooms); err != nil {
		return err
	}
	for copied := 0; copied < imagesEach*rooms; {
		if !pause(ctx, 200*time.Millisecond) {
			return fmt.Errorf("%d of %d images are copied: %w", copied, imagesEach*rooms, ctx.Err())
		}
		b, err := ledger.New(s.DB, ledger.Options{}).Batch(ctx, "archive")
		if err != nil {
			return err
		}
		copied = b.CopiedImages
	}
	name := fmt.Sprintf("%s images", number(float64(imagesEach*rooms)))
	r.add(name+": copied, the cap out of the way", float64(imagesEach*rooms)/time.Since(begin).Seconds(), "/s", noted)
	worker, err := peakMemory(s.workers[0].cmd.Process.Pid)
	if err != nil {
		return err
	}
	r.add(name+": the worker's memory at most", float64(worker)/1e6, "MB", noted)
	if err := s.stopWorkers(1); err != nil {
		return err
	}

	addr, err := freeAddr()
	if err != nil {
		return err
	}
	environ := append(s.Environ, "TIWSNAP_HTTP_ADDR="+addr)
	web, err := startProcess(filepath.Join(s.Dir, "web.log"), addr, environ, s.Binary, "web")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopAll([]*process{web})) }()
	if err := web.await(ctx); err != nil {
		return err
	}
	begin = time.Now()
	size, err := download(ctx, "http://"+addr+"/v1/batches/archive/images.zip")
	if err != nil {
		return err
	}
	took := time.Since(begin)
	memory, err := peakMemory(web.cmd.Process.Pid)
	if err != nil {
		return err
	}
	r.add(name+" as a ZIP by HTTP: memory at most", float64(memory)/1e6, "MB", atMost(64))
	r.add(name+" as a ZIP by HTTP: bytes a second", float64(size)/1e6/took.Seconds(), "MB/s", noted)

	cmd := exec.CommandContext(ctx, s.Binary, "images", "archive", "--zip", "-")
	cmd.Env = s.Environ
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("tiwsnap images: %w", err)
	}
	if use, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		r.add(name+" as a ZIP by the command: memory at most", float64(use.Maxrss)*1024/1e6, "MB", atMost(64))
	}
	return nil
}

// download reads what a URL leads to, and returns how many bytes it has.
func download(ctx context.Context, url string) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, resp.Status)
	}
	return n, err
}

// freeAddr is an address on loopback at which nobody listens.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
