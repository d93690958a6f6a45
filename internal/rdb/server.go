package rdb

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Server is the INFO of one Redis server. A managed Redis may omit any field.
type Server struct {
	Addr       string  // HOST:PORT of a master of a cluster; empty for a single server
	Version    string  // empty: unknown
	Policy     string  // maxmemory-policy; empty: unknown
	AppendOnly string  // "yes" or "no"; empty: unknown
	AOFBroken  bool    // the last write to the append-only file failed
	Memory     *Memory // nil: unknown
}

// Memory is the memory usage of a server, in bytes.
type Memory struct {
	Used int64 // memory that counts against Max
	Max  int64 // 0: no limit
}

// Servers returns the INFO of the server, or of every master of a cluster ordered by address. It reads only the given
// sections, or the default ones. Fields of other sections are unknown. The error is a redis.Error if a server does not
// permit INFO, and another error if one does not answer.
func Servers(ctx context.Context, c redis.UniversalClient, sections ...string) ([]Server, error) {
	cluster, ok := c.(*redis.ClusterClient)
	if !ok {
		text, err := c.Info(ctx, sections...).Result()
		if err != nil {
			return nil, err
		}
		return []Server{parseInfo("", text)}, nil
	}
	var mu sync.Mutex
	all := make(map[string]Server)
	err := cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
		text, err := node.Info(ctx, sections...).Result()
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		addr := node.Options().Addr
		all[addr] = parseInfo(addr, text)
		return nil
	})
	if err != nil {
		return nil, err
	}
	servers := make([]Server, 0, len(all))
	for _, addr := range slices.Sorted(maps.Keys(all)) {
		servers = append(servers, all[addr])
	}
	return servers, nil
}

func parseInfo(addr, text string) Server {
	info := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, found := strings.Cut(strings.TrimSpace(line), ":"); found {
			info[name] = value
		}
	}
	s := Server{Addr: addr, Version: info["redis_version"], Policy: info["maxmemory_policy"]}
	switch info["aof_enabled"] {
	case "0":
		s.AppendOnly = "no"
	case "1":
		s.AppendOnly = "yes"
		status := info["aof_last_write_status"]
		s.AOFBroken = status != "" && status != "ok"
	}
	used, uerr := strconv.ParseInt(info["used_memory"], 10, 64)
	limit, lerr := strconv.ParseInt(info["maxmemory"], 10, 64)
	if uerr == nil && lerr == nil {
		// Redis does not count replication and AOF buffers against maxmemory.
		buffers, _ := strconv.ParseInt(info["mem_not_counted_for_evict"], 10, 64)
		s.Memory = &Memory{Used: used - buffers, Max: limit}
	}
	return s
}

// EvictionError means that a server evicts keys when it is full. Accepted snapshots would be lost without an error.
type EvictionError struct {
	Addr   string // as in Server
	Policy string
}

// EvictionFix is the fix of an EvictionError.
const EvictionFix = "CONFIG SET maxmemory-policy noeviction, and the same in redis.conf"

func (e *EvictionError) Error() string {
	server := "Redis"
	if e.Addr != "" {
		server += " " + e.Addr
	}
	return fmt.Sprintf("maxmemory-policy of %s is %s: accepted snapshots are lost when it is full; fix: %s",
		server, e.Policy, EvictionFix)
}

// CheckPolicy returns an *EvictionError unless maxmemory-policy is noeviction or unknown. It ignores whether maxmemory
// is set, because that can change at any time.
func (s Server) CheckPolicy() error {
	if s.Policy == "" || s.Policy == "noeviction" {
		return nil
	}
	return &EvictionError{s.Addr, s.Policy}
}

// Skew returns how far the clock of Redis is ahead of the local clock, with an error of at most half the round trip.
func Skew(ctx context.Context, c redis.UniversalClient) (time.Duration, error) {
	begin := time.Now()
	remote, err := c.Time(ctx).Result()
	if err != nil {
		return 0, err
	}
	return remote.Sub(begin.Add(time.Since(begin) / 2)).Round(time.Millisecond), nil
}

// MaxSkew is the largest clock skew without a warning. One machine sets asynq's leases by its clock, and another checks
// them by its own.
const MaxSkew = 5 * time.Second

// OutOfMemory reports whether Redis rejected a write because it is full (OOM). It also recognizes errors of scripts and
// those that asynq converted to text.
func OutOfMemory(err error) bool {
	return err != nil && strings.Contains(err.Error(), "OOM command not allowed")
}
