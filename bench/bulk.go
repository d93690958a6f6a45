package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// bulk measures the command that a producer runs on a class list: what it reads
// it checks, and looks for rooms that are there twice.
func bulk(ctx context.Context, r *recorder) error {
	for _, n := range []int{100_000, 1_000_000} {
		if err := bulkOf(ctx, r, n); err != nil {
			return err
		}
	}
	return nil
}

func bulkOf(ctx context.Context, r *recorder, n int) (err error) {
	name := grouped(fmt.Sprint(n)) + " rooms"
	s, err := r.newRedis(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	list := filepath.Join(s.Dir, "rooms.csv")
	if err := writeList(list, n); err != nil {
		return err
	}
	before, err := s.memory(ctx)
	if err != nil {
		return err
	}

	cmd := exec.CommandContext(ctx, s.Binary, "enqueue", "batch", list, "--name", "bulk")
	cmd.Env = s.Environ
	begin := time.Now()
	out, err := cmd.CombinedOutput()
	took := time.Since(begin)
	if err != nil {
		return fmt.Errorf("enqueue batch: %w\n%s", err, out)
	}
	if want := fmt.Sprintf("%d rooms enqueued", n); !strings.Contains(string(out), want) {
		r.broke("%s: enqueue batch did not say %q but %q", name, want, out)
	}
	after, err := s.memory(ctx)
	if err != nil {
		return err
	}
	r.add(name+": from CSV to Redis, the start of the process included", float64(n)/took.Seconds(), "rooms/s",
		atLeast(500_000))
	r.add(name+": Redis' memory for a waiting room", (after-before)/float64(n), "B", atMost(20))
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		r.add(name+": memory of the command", float64(usage.Maxrss)/1024, "MiB", noted)
	}
	return nil
}

// memory is what Redis uses, but for the buffers of its append-only file.
func (s *stage) memory(ctx context.Context) (float64, error) {
	info, err := infoOf(ctx, s.DB, "memory")
	return info.float("used_memory") - info.float("mem_not_counted_for_evict"), err
}

// writeList writes a class list of n rooms, whose numbers are as good as
// random: in order they would be easier to pack than real ones.
func writeList(name string, n int) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	fmt.Fprintln(w, "SdkAppId,RoomId")
	for i := range n {
		fmt.Fprintf(w, "%d,%d\n", sdkAppID, scattered(uint32(i+1)))
	}
	return errors.Join(w.Flush(), f.Close())
}

// scattered gives every number another one, and only 0 to 0: the last step of
// MurmurHash3, https://github.com/aappleby/smhasher.
func scattered(x uint32) uint32 {
	x ^= x >> 16
	x *= 0x85ebca6b
	x ^= x >> 13
	x *= 0xc2b2ae35
	return x ^ x>>16
}
