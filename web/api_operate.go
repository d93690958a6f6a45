package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"tiwsnap/enqueue"
	"tiwsnap/internal/rdb"
	"tiwsnap/internal/roster"
	"tiwsnap/ratelimit"
	"tiwsnap/schedule"
	"tiwsnap/tasks"
)

type historyInput struct {
	Span string `query:"span" enum:"15m,24h,7d" default:"15m" doc:"How far back"`
}

type historyOutput struct {
	Body ratelimit.History
}

// limitHistory is the requests of CreateSnapshotTask over some time.
func (a *API) limitHistory(ctx context.Context, in *historyInput) (*historyOutput, error) {
	l := a.limiter()
	if l == nil {
		return nil, problem(http.StatusNotFound, codeNotFound, "this process knows of no rate limit")
	}
	h, err := l.History(ctx, ratelimit.Span(in.Span))
	return &historyOutput{h}, err
}

type setLimitInput struct {
	Limit int `query:"limit" minimum:"0" maximum:"10000" required:"true" doc:"Requests per second; 0: as configured"`
}

func (a *API) setLimit(ctx context.Context, in *setLimitInput) (*limitOutput, error) {
	l := a.limiter()
	if l == nil {
		return nil, problem(http.StatusNotFound, codeNotFound, "this process knows of no rate limit")
	}
	if err := l.Set(ctx, in.Limit); err != nil {
		return nil, err
	}
	detail := fmt.Sprint(in.Limit)
	if in.Limit == 0 {
		detail = "default"
	}
	a.did(ctx, "set-limit", "", detail)
	return a.getLimit(ctx, nil)
}

type scheduleInput struct {
	Name string `path:"name" maxLength:"32" doc:"Of the schedule"`
}

// schedule returns a schedule of the configuration. The error is a *Problem.
func (a *API) schedule(name string) (schedule.Schedule, error) {
	i := slices.IndexFunc(a.o.Schedules, func(s schedule.Schedule) bool { return s.Name == name })
	if i < 0 {
		return schedule.Schedule{}, problem(http.StatusNotFound, codeNotFound, "the configuration has no schedule %q", name)
	}
	return a.o.Schedules[i], nil
}

// RanSchedule is the batch that a schedule has made by hand.
type RanSchedule struct {
	ID      string   `json:"id" doc:"Of the batch"`
	Rooms   int      `json:"rooms"`
	BadRows int      `json:"bad_rows" doc:"Rows that were left out because they are wrong"`
	Reasons []string `json:"reasons" doc:"What is wrong with the first few"`
	Notes   []string `json:"notes" doc:"What was recognised"`
}

type ranOutput struct {
	Status int
	Body   RanSchedule
}

// runTime bounds the reading of a source that somebody waits for.
const runTime = 45 * time.Second

func (a *API) runSchedule(ctx context.Context, in *scheduleInput) (*ranOutput, error) {
	s, err := a.schedule(in.Name)
	if err != nil {
		return nil, err
	}
	report := schedule.Report{Reasons: []string{}, Notes: []string{}}
	batch, err := a.queue.Batch(ctx, s.Rooms(ctx, &report), enqueue.BatchOptions{
		ID: s.HandID(time.Now()), Defaults: s.Defaults, By: PrincipalOf(ctx).key(), Replicated: a.o.Replicated,
	})
	var source *schedule.SourceError
	switch {
	case errors.As(err, &source):
		return nil, problem(http.StatusBadGateway, codeSource, "nothing was enqueued: %v", err)
	case errors.Is(err, enqueue.ErrExists):
		return nil, problem(http.StatusConflict, codeExists,
			"nothing was enqueued: %v; it was made in this very second, try again", err)
	case err != nil:
		return nil, err
	}
	a.did(ctx, "run-schedule", in.Name, fmt.Sprintf("%s: %d rooms", batch.ID, batch.Rooms))
	return &ranOutput{http.StatusAccepted,
		RanSchedule{batch.ID, batch.Rooms, report.BadRows, report.Reasons, report.Notes}}, nil
}

type scheduleOutput struct {
	Body schedule.Status
}

func (a *API) pauseSchedule(ctx context.Context, in *scheduleInput) (*scheduleOutput, error) {
	return a.turnSchedule(ctx, in.Name, "pause-schedule", (*schedule.Store).Pause)
}

func (a *API) resumeSchedule(ctx context.Context, in *scheduleInput) (*scheduleOutput, error) {
	return a.turnSchedule(ctx, in.Name, "resume-schedule", (*schedule.Store).Resume)
}

func (a *API) turnSchedule(
	ctx context.Context, name, action string, do func(*schedule.Store, context.Context, schedule.Schedule) error,
) (*scheduleOutput, error) {
	s, err := a.schedule(name)
	if err != nil {
		return nil, err
	}
	store := schedule.NewStore(a.o.Redis, a.o.Namespace)
	if err := do(store, ctx, s); err != nil {
		return nil, err
	}
	a.did(ctx, action, name, "")
	all, err := store.Status(ctx, []schedule.Schedule{s})
	if err != nil {
		return nil, err
	}
	return &scheduleOutput{all[0]}, nil
}

type workersOutput struct {
	Body struct {
		Workers []roster.Worker `json:"workers" doc:"Those that have told of themselves within 20 seconds"`
		Differ  []string        `json:"differ" doc:"Settings in which they differ"`
	}
}

func (a *API) listWorkers(ctx context.Context, _ *struct{}) (*workersOutput, error) {
	out := &workersOutput{}
	var err error
	out.Body.Workers, err = roster.List(ctx, a.o.Redis, a.o.Namespace)
	if out.Body.Differ = roster.Differ(out.Body.Workers); out.Body.Differ == nil {
		out.Body.Differ = []string{}
	}
	return out, err
}

// RedisServer is how one server of Redis is.
type RedisServer struct {
	Addr       string `json:"addr,omitempty" doc:"Of a master of a cluster; left out where there is one server"`
	Version    string `json:"version,omitempty"`
	Policy     string `json:"maxmemory_policy,omitempty"`
	AppendOnly string `json:"appendonly,omitempty" enum:"yes,no"`
	AOFBroken  bool   `json:"aof_broken,omitempty" doc:"The last write to its append-only file has failed"`
	Used       int64  `json:"used_memory,omitempty" doc:"Bytes"`
	Max        int64  `json:"maxmemory,omitempty" doc:"Bytes; 0: no limit"`
}

type redisOutput struct {
	Body struct {
		Servers []RedisServer    `json:"servers" doc:"Empty where Redis does not tell"`
		Skew    float64          `json:"clock_ahead_seconds" doc:"By how much its clock is ahead of the one here"`
		Batches int64            `json:"batches" doc:"That are kept"`
		Record  int64            `json:"record_bytes,omitempty" doc:"Size of one snapshot's record, from the newest batch"`
		Totals  map[string]int64 `json:"totals" doc:"What has become of everything that ever ran here"`
	}
}

func (a *API) getRedis(ctx context.Context, _ *struct{}) (*redisOutput, error) {
	out := &redisOutput{}
	out.Body.Servers, out.Body.Totals = []RedisServer{}, map[string]int64{}
	servers, err := rdb.Servers(ctx, a.o.Redis)
	if err != nil && problemOf(err) == nil {
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
	now, err := a.o.Redis.Time(ctx).Result()
	if err != nil {
		return nil, err
	}
	out.Body.Skew = now.Sub(began.Add(time.Since(began) / 2)).Seconds()
	pipe := a.o.Redis.Pipeline()
	batches, totals := pipe.ZCard(ctx, a.o.Namespace.Batches()), pipe.HGetAll(ctx, a.o.Namespace.Totals())
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	out.Body.Batches = batches.Val()
	if newest, err := a.ledger.Batches(ctx, 1); err == nil && len(newest) == 1 {
		// A Redis that does not tell, or has packed it, leaves it out.
		out.Body.Record, _ = a.o.Redis.MemoryUsage(ctx, a.o.Namespace.Snapshot(tasks.RowID(newest[0].ID, 1))).Result()
	}
	for name, text := range totals.Val() {
		var n int64
		if _, err := fmt.Sscan(text, &n); err == nil {
			out.Body.Totals[name] = n
		}
	}
	return out, nil
}
