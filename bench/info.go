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

// info is what Redis tells of itself.
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

// float is a number of it, 0 where there is none.
func (i info) float(name string) float64 {
	v, _ := strconv.ParseFloat(i[name], 64)
	return v
}

// redisCPU is the processor time that Redis has used, that of its children
// included.
func redisCPU(ctx context.Context, rdb redis.UniversalClient) (time.Duration, error) {
	info, err := infoOf(ctx, rdb, "cpu")
	if err != nil {
		return 0, err
	}
	s := info.float("used_cpu_sys") + info.float("used_cpu_user") +
		info.float("used_cpu_sys_children") + info.float("used_cpu_user_children")
	return time.Duration(s * 1e9), nil
}

// workersCPU is the processor time that the workers have used which run now.
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

// processCPU is the processor time that a process has used, from /proc.
func processCPU(pid int) (time.Duration, error) {
	const tick = time.Second / 100 // USER_HZ, the same on all of Linux
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name in parentheses may hold anything; utime and stime are the 14th
	// and 15th fields.
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
