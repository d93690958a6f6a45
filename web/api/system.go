package api

import (
	"context"
	"fmt"
	"time"

	"tiwsnap/internal/rdb"
	"tiwsnap/internal/roster"
	"tiwsnap/tasks"
)

type workersOutput struct {
	Body struct {
		Workers []roster.Worker `json:"workers" doc:"Those with a heartbeat within 20 seconds"`
		Differ  []string        `json:"differ" doc:"Settings in which they differ"`
	}
}

// ListWorkers returns the running workers, and the settings in which they differ.
func (a *API) ListWorkers(ctx context.Context, _ *struct{}) (*workersOutput, error) {
	out := &workersOutput{}
	var err error
	out.Body.Workers, err = roster.List(ctx, a.Redis, a.Namespace)
	if out.Body.Differ = roster.DifferingSettings(out.Body.Workers); out.Body.Differ == nil {
		out.Body.Differ = []string{}
	}
	return out, err
}

// RedisServer is the state of one Redis server.
type RedisServer struct {
	Addr       string `json:"addr,omitempty" doc:"Of a master of a cluster; left out if there is one server"`
	Version    string `json:"version,omitempty"`
	Policy     string `json:"maxmemory_policy,omitempty"`
	AppendOnly string `json:"appendonly,omitempty" enum:"yes,no"`
	AOFBroken  bool   `json:"aof_broken,omitempty" doc:"The last write to its append-only file has failed"`
	Used       int64  `json:"used_memory,omitempty" doc:"Bytes"`
	Max        int64  `json:"maxmemory,omitempty" doc:"Bytes; 0: no limit"`
}

type RedisOutput struct {
	Body struct {
		Servers []RedisServer    `json:"servers" doc:"Empty if INFO is not permitted"`
		Skew    float64          `json:"clock_ahead_seconds" doc:"How far the clock of Redis is ahead of this machine"`
		Batches int64            `json:"batches" doc:"Batches that are kept"`
		Record  int64            `json:"record_bytes,omitempty" doc:"Size of one snapshot's record, from the newest batch"`
		Totals  map[string]int64 `json:"totals" doc:"Counters of everything that ran in this namespace"`
	}
}

// GetRedis returns the state of Redis.
func (a *API) GetRedis(ctx context.Context, _ *struct{}) (*RedisOutput, error) {
	out := &RedisOutput{}
	out.Body.Servers, out.Body.Totals = []RedisServer{}, map[string]int64{}
	servers, err := rdb.Servers(ctx, a.Redis)
	if err != nil && ClientProblem(err) == nil {
		return nil, err
	}
	for _, s := range servers {
		r := RedisServer{Addr: s.Addr, Version: s.Version, Policy: s.Policy, AppendOnly: s.AppendOnly, AOFBroken: s.AOFBroken}
		if s.Memory != nil {
			r.Used, r.Max = s.Memory.Used, s.Memory.Max
		}
		out.Body.Servers = append(out.Body.Servers, r)
	}
	began := time.Now()
	now, err := a.Redis.Time(ctx).Result()
	if err != nil {
		return nil, err
	}
	out.Body.Skew = now.Sub(began.Add(time.Since(began) / 2)).Seconds()
	pipe := a.Redis.Pipeline()
	batches, totals := pipe.ZCard(ctx, a.Namespace.Batches()), pipe.HGetAll(ctx, a.Namespace.Totals())
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	out.Body.Batches = batches.Val()
	if newest, err := a.Ledger.Batches(ctx, 1); err == nil && len(newest) == 1 {
		// Without permission, or if the record is packed, it is left out.
		out.Body.Record, _ = a.Redis.MemoryUsage(ctx, a.Namespace.Snapshot(tasks.RowID(newest[0].ID, 1))).Result()
	}
	for name, text := range totals.Val() {
		var n int64
		if _, err := fmt.Sscan(text, &n); err == nil {
			out.Body.Totals[name] = n
		}
	}
	return out, nil
}
