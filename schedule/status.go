package schedule

import (
	"context"
	"fmt"
	"time"
)

// Status is the state of a schedule for people and programs.
type Status struct {
	Name     string    `json:"name"`
	Cron     string    `json:"cron"`
	Timezone string    `json:"timezone"`
	Source   string    `json:"source"` // "list", a file, or the host of a URL
	Next     time.Time `json:"next"`
	Last     *Outcome  `json:"last,omitempty"`
	Trying   *Trying   `json:"trying,omitempty"`
	Missed   int       `json:"missed"` // ticks that were never made
	// Overdue is a tick that no worker has begun for two minutes: no worker runs, or none has this schedule in its
	// configuration.
	Overdue time.Time `json:"overdue,omitzero"`
	// Paused is when the schedule was paused; zero if it is not.
	Paused time.Time `json:"paused,omitzero"`
	// Ticks are the next ticks in the time zone of the schedule. A paused schedule has those that it would make.
	Ticks []time.Time `json:"ticks"`
}

const (
	// statusTicks is how many of the next ticks a Status has.
	statusTicks = 5
	// overdueAfter is the age at which a tick that no worker has begun counts as overdue.
	overdueAfter = 2 * time.Minute
)

// Status returns the status of each schedule, in their order.
func (st *Store) Status(ctx context.Context, all []Schedule) ([]Status, error) {
	list := make([]Status, 0, len(all))
	for _, s := range all {
		state, now, err := st.State(ctx, s)
		if err != nil {
			return nil, err
		}
		status := Status{
			Name: s.Name, Cron: s.Cron, Timezone: s.Zone, Source: s.Source.String(),
			Next: s.Spec.Next(now), Last: state.Outcome, Trying: state.Trying, Missed: state.Missed,
			Paused: state.Paused, Ticks: s.Ticks(now, statusTicks),
		}
		if !state.Last.IsZero() && state.Trying == nil && state.Paused.IsZero() {
			if tick := s.Spec.Next(state.Last); !tick.IsZero() && now.Sub(tick) > overdueAfter {
				// Reading a long class list takes minutes.
				busy, err := st.rdb.Exists(ctx, st.ns.Ticking(s.Name)).Result()
				if err != nil {
					return nil, fmt.Errorf("read schedule %s: %w", s.Name, err)
				}
				if busy == 0 {
					status.Overdue = tick
				}
			}
		}
		list = append(list, status)
	}
	return list, nil
}
