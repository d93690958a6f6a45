package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// info is the reply of the Redis command INFO.
type info map[string]string

func infoOf(ctx context.Context, rdb redis.UniversalClient, sections ...string) (info, error) {
	text, err := rdb.Info(ctx, sections...).Result()
	if err != nil {
		return nil, err
	}
	all := make(info)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			all[name] = value
		}
	}
	return all, nil
}

// float returns a number of the reply, or 0.
func (i info) float(name string) float64 {
	v, _ := strconv.ParseFloat(i[name], 64)
	return v
}

// redisCPU returns the processor time that Redis and its child processes have used.
func redisCPU(ctx context.Context, rdb redis.UniversalClient) (time.Duration, error) {
	info, err := infoOf(ctx, rdb, "cpu")
	if err != nil {
		return 0, err
	}
	s := info.float("used_cpu_sys") + info.float("used_cpu_user") +
		info.float("used_cpu_sys_children") + info.float("used_cpu_user_children")
	return time.Duration(s * 1e9), nil
}

// workersCPU returns the processor time that the running workers have used.
func (s *stage) workersCPU() (total time.Duration, err error) {
	for _, w := range s.workers {
		used, err := processCPU(w.cmd.Process.Pid)
		if err != nil {
			return 0, err
		}
		total += used
	}
	return total, nil
}

// processCPU returns the processor time that a process has used, from /proc.
func processCPU(pid int) (time.Duration, error) {
	const tick = time.Second / 100 // USER_HZ, the same on all of Linux
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name in parentheses may contain spaces; utime and stime are the 14th and 15th fields.
	_, rest, _ := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat: %q", pid, b)
	}
	user, uerr := strconv.Atoi(fields[11])
	system, serr := strconv.Atoi(fields[12])
	if uerr != nil || serr != nil {
		return 0, fmt.Errorf("/proc/%d/stat: %q", pid, b)
	}
	return time.Duration(user+system) * tick, nil
}

// memory returns the memory that Redis uses, without the buffers of its append-only file.
func (s *stage) memory(ctx context.Context) (float64, error) {
	info, err := infoOf(ctx, s.DB, "memory")
	return info.float("used_memory") - info.float("mem_not_counted_for_evict"), err
}
