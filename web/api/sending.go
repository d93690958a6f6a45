package api

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"

	"tiwsnap/gate"
	"tiwsnap/ratelimit"
	"tiwsnap/web"
)

// Limit is the rate limit of one API action.
type Limit struct {
	Action    string  `json:"action"`
	Limit     int     `json:"limit" doc:"Requests in any second, as configured"`
	Effective int     `json:"effective" doc:"Current limit: lower after Tencent has throttled"`
	Used      int     `json:"used" doc:"Requests of all processes in the last second"`
	Margin    float64 `json:"margin_seconds" doc:"Safety margin added to the one-second window"`
}

type limitOutput struct {
	Body struct {
		Limits  []Limit     `json:"limits"`
		Stopped []gate.Stop `json:"stopped" doc:"Why sending is stopped, or an application is suspended"`
	}
}

func (a *API) getLimit(ctx context.Context, _ *struct{}) (*limitOutput, error) {
	out := &limitOutput{}
	var err error
	if out.Body.Stopped, err = a.Results.Stops(ctx); err != nil {
		return nil, err
	}
	out.Body.Limits, err = a.Limits(ctx)
	return out, err
}

type StopInput struct {
	Reason string `query:"reason" maxLength:"200" doc:"Shown wherever the stop is shown"`
}

// stopOutput is the state after a stop or a start.
type stopOutput struct {
	Body struct {
		Stopped []gate.Stop `json:"stopped" doc:"Why sending is stopped, or an application is suspended"`
	}
}

// Stop stops all sending for the principal of ctx. The log keeps who that was.
func (a *API) Stop(ctx context.Context, in *StopInput) (*stopOutput, error) {
	if err := stopSending(ctx, a.gate, a.o.Log, in.Reason); err != nil {
		return nil, err
	}
	a.Audit(ctx, "stop-sending", "", in.Reason)
	return a.stopped(ctx)
}

// Start starts all sending, whatever has stopped it.
func (a *API) Start(ctx context.Context, _ *struct{}) (*stopOutput, error) {
	before, err := startSending(ctx, a.gate, a.o.Log)
	if err != nil {
		return nil, err
	}
	a.Audit(ctx, "start-sending", "", before.Ended())
	return a.stopped(ctx)
}

func (a *API) stopped(ctx context.Context) (*stopOutput, error) {
	out := &stopOutput{}
	var err error
	out.Body.Stopped, err = a.Results.Stops(ctx)
	return out, err
}

// stopSending stops all sending for the principal of ctx.
func stopSending(ctx context.Context, b *gate.Breaker, log *slog.Logger, reason string) error {
	who := web.PrincipalOf(ctx).Name
	before, err := b.Stop(ctx, who, reason)
	if err == nil {
		log.Warn("all sending stopped by a person", "by", who, "reason", reason, "before", before)
	}
	return err
}

// startSending starts all sending, whatever has stopped it. It returns what has stopped it, if anything.
func startSending(ctx context.Context, b *gate.Breaker, log *slog.Logger) (gate.Cause, error) {
	before, err := b.Start(ctx)
	if err == nil {
		log.Warn("all sending started by a person", "by", web.PrincipalOf(ctx).Name, "before", before)
	}
	return before, err
}

// Limits returns the rate limits of this process, by API action.
func (a *API) Limits(ctx context.Context) ([]Limit, error) {
	all := []Limit{}
	for _, action := range slices.Sorted(maps.Keys(a.o.Limiters)) {
		s, err := a.o.Limiters[action].State(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, Limit{action, s.Limit, s.Effective, s.Used, s.Margin.Seconds()})
	}
	return all, nil
}

type historyInput struct {
	Span string `query:"span" enum:"15m,24h,7d" default:"15m" doc:"How far back"`
}

type historyOutput struct {
	Body ratelimit.History
}

// limitHistory returns the requests of CreateSnapshotTask over a span of time.
func (a *API) limitHistory(ctx context.Context, in *historyInput) (*historyOutput, error) {
	l := a.Limiter
	if l == nil {
		return nil, web.NewProblem(http.StatusNotFound, web.CodeNotFound, "this process has no rate limit")
	}
	h, err := l.History(ctx, ratelimit.Span(in.Span))
	return &historyOutput{h}, err
}

type SetLimitInput struct {
	Limit int `query:"limit" minimum:"0" maximum:"10000" required:"true" doc:"Requests per second; 0: as configured"`
}

// SetLimit sets the rate limit of all workers.
func (a *API) SetLimit(ctx context.Context, in *SetLimitInput) (*limitOutput, error) {
	l := a.Limiter
	if l == nil {
		return nil, web.NewProblem(http.StatusNotFound, web.CodeNotFound, "this process has no rate limit")
	}
	if err := l.Set(ctx, in.Limit); err != nil {
		return nil, err
	}
	detail := fmt.Sprint(in.Limit)
	if in.Limit == 0 {
		detail = "default"
	}
	a.Audit(ctx, "set-limit", "", detail)
	return a.getLimit(ctx, nil)
}
