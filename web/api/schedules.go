package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"tiwsnap/enqueue"
	"tiwsnap/internal/plural"
	"tiwsnap/schedule"
	"tiwsnap/web"
)

type schedulesOutput struct {
	Body struct {
		Schedules []schedule.Status `json:"schedules"`
	}
}

// ListSchedules returns the schedules with their ticks.
func (a *API) ListSchedules(ctx context.Context, _ *struct{}) (*schedulesOutput, error) {
	out := &schedulesOutput{}
	all, err := schedule.NewStore(a.Redis, a.Namespace).Status(ctx, a.o.Schedules)
	out.Body.Schedules = all
	if all == nil {
		out.Body.Schedules = []schedule.Status{}
	}
	return out, err
}

type ScheduleInput struct {
	Name string `path:"name" maxLength:"32" doc:"Of the schedule"`
}

// schedule returns a schedule of the configuration. The error is a *Problem.
func (a *API) schedule(name string) (schedule.Schedule, error) {
	i := slices.IndexFunc(a.o.Schedules, func(s schedule.Schedule) bool { return s.Name == name })
	if i < 0 {
		return schedule.Schedule{}, web.NewProblem(http.StatusNotFound, web.CodeNotFound,
			"the configuration has no schedule %q", name)
	}
	return a.o.Schedules[i], nil
}

// RanSchedule is a batch that a schedule has made on request.
type RanSchedule struct {
	ID      string   `json:"id" doc:"Of the batch"`
	Rooms   int      `json:"rooms"`
	BadRows int      `json:"bad_rows" doc:"Rows that were left out because of a fault"`
	Reasons []string `json:"reasons" doc:"Faults of the first few"`
	Notes   []string `json:"notes" doc:"What was detected"`
}

type ranOutput struct {
	Status int
	Body   RanSchedule
}

// runTime bounds the reading of a source while a client waits.
const runTime = 45 * time.Second

// RunSchedule enqueues the rooms of a schedule now.
func (a *API) RunSchedule(ctx context.Context, in *ScheduleInput) (*ranOutput, error) {
	s, err := a.schedule(in.Name)
	if err != nil {
		return nil, err
	}
	report := schedule.Report{Reasons: []string{}, Notes: []string{}}
	batch, err := a.queue.Batch(ctx, s.Rooms(ctx, &report), enqueue.BatchOptions{
		ID: s.HandID(time.Now()), Defaults: s.Defaults, By: web.PrincipalOf(ctx).Key(), Replicated: a.o.Replicated,
	})
	var source *schedule.SourceError
	switch {
	case errors.As(err, &source):
		return nil, web.NewProblem(http.StatusBadGateway, web.CodeSource, "nothing was enqueued: %v", err)
	case errors.Is(err, enqueue.ErrExists):
		return nil, web.NewProblem(http.StatusConflict, web.CodeExists,
			"nothing was enqueued: %v; it ran in this second, try again", err)
	case err != nil:
		return nil, err
	}
	a.Audit(ctx, "run-schedule", in.Name, batch.ID+": "+plural.Of(batch.Rooms, "room"))
	return &ranOutput{http.StatusAccepted,
		RanSchedule{batch.ID, batch.Rooms, report.BadRows, report.Reasons, report.Notes}}, nil
}

type scheduleOutput struct {
	Body schedule.Status
}

// PauseSchedule stops the ticks of a schedule.
func (a *API) PauseSchedule(ctx context.Context, in *ScheduleInput) (*scheduleOutput, error) {
	return a.setSchedulePaused(ctx, in.Name, "pause-schedule", (*schedule.Store).Pause)
}

// ResumeSchedule makes the ticks of a schedule again.
func (a *API) ResumeSchedule(ctx context.Context, in *ScheduleInput) (*scheduleOutput, error) {
	return a.setSchedulePaused(ctx, in.Name, "resume-schedule", (*schedule.Store).Resume)
}

// setSchedulePaused pauses or resumes a schedule.
func (a *API) setSchedulePaused(
	ctx context.Context, name, action string, do func(*schedule.Store, context.Context, schedule.Schedule) error,
) (*scheduleOutput, error) {
	s, err := a.schedule(name)
	if err != nil {
		return nil, err
	}
	store := schedule.NewStore(a.Redis, a.Namespace)
	if err := do(store, ctx, s); err != nil {
		return nil, err
	}
	a.Audit(ctx, action, name, "")
	all, err := store.Status(ctx, []schedule.Schedule{s})
	if err != nil {
		return nil, err
	}
	return &scheduleOutput{all[0]}, nil
}
