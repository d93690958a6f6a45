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

// Server is what one Redis server says of itself. A managed Redis may leave
// out any of it.
type Server struct {
	Addr       string // HOST:PORT of a master of a cluster; empty where there is one server
	Version    string // empty: not told
	Policy     string // maxmemory-policy; empty: not told
	AppendOnly string // "yes" or "no"; empty: not told
	AOFBroken  bool   // the last write to the append-only file failed
	Memory     *Memory
}

// Memory is how full a server is, in bytes. A nil one was not told.
type Memory struct {
	Used int64 // what counts against Max
	Max  int64 // 0: no limit
}

// Servers asks the server, or every master of a cluster, by INFO, in the order
// of their addresses. Without sections it asks for all; what is not in the
// sections is not told. The error is a redis.Error where a server forbids the
// question, and anything else where one does not answer.
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
		// Redis does not count the buffers of its replicas and of the AOF.
		buffers, _ := strconv.ParseInt(info["mem_not_counted_for_evict"], 10, 64)
		s.Memory = &Memory{Used: used - buffers, Max: limit}
	}
	return s
}

// EvictionError means that a server throws keys away when it is full, and
// snapshots with them: Redis destroys tasks that were accepted, without an
// error to anybody.
type EvictionError struct {
	Addr   string // as in Server
	Policy string
}

// EvictionFix is what to do about an EvictionError.
const EvictionFix = "CONFIG SET maxmemory-policy noeviction, and the same in redis.conf"

func (e *EvictionError) Error() string {
	server := "Redis"
	if e.Addr != "" {
		server += " " + e.Addr
	}
	return fmt.Sprintf("maxmemory-policy of %s is %s: snapshots that were accepted are thrown away when it is "+
		"full; fix: %s", server, e.Policy, EvictionFix)
}

// CheckPolicy returns an *EvictionError unless the server's maxmemory-policy is
// noeviction or not told. It does so also while the server has no maxmemory:
// that can be set at any time.
func (s Server) CheckPolicy() error {
	if s.Policy == "" || s.Policy == "noeviction" {
		return nil
	}
	return &EvictionError{s.Addr, s.Policy}
}

// Skew is by how much the clock of Redis is ahead of the clock here, give or
// take half the time that the answer took.
func Skew(ctx context.Context, c redis.UniversalClient) (time.Duration, error) {
	begin := time.Now()
	theirs, err := c.Time(ctx).Result()
	if err != nil {
		return 0, err
	}
	return theirs.Sub(begin.Add(time.Since(begin) / 2)).Round(time.Millisecond), nil
}

// MaxSkew is how far the clock of Redis may be from the clock here before
// people are told: asynq's leases are set by one machine's clock and judged by
// another's.
const MaxSkew = 5 * time.Second

// OutOfMemory reports whether err is Redis refusing a write because it is
// full, also from within a script and after asynq has made a text of it.
func OutOfMemory(err error) bool {
	return err != nil && strings.Contains(err.Error(), "OOM command not allowed")
}
