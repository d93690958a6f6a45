package schedule

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/keys"
)

// Result is what became of a tick.
type Result string

// The results.
const (
	Enqueued Result = "enqueued" // a batch was made
	Skipped  Result = "skipped"  // the batch of the tick before was still open
	Late     Result = "missed"   // no worker ran, and missed ticks are not made up
	Failed   Result = "failed"   // the rooms could not be had
)

// Outcome is how a tick ended.
type Outcome struct {
	Tick   time.Time `json:"tick"`
	At     time.Time `json:"at"` // when it ended
	Result Result    `json:"result"`
	Batch  string    `json:"batch,omitempty"`
	Rooms  int       `json:"rooms,omitempty"`
	Report
	Error  string `json:"error,omitempty"`
	Missed int    `json:"missed,omitempty"` // ticks that were not made, up to this one
}

// list makes the reasons and notes lists, where there are none: programs are not
// to meet a null.
func (o *Outcome) list() {
	if o.Reasons == nil {
		o.Reasons = []string{}
	}
	if o.Notes == nil {
		o.Notes = []string{}
	}
}

// Failure is a tick that failed, as a webhook tells of it.
type Failure struct {
	Schedule string `json:"schedule"`
	Outcome
}

// failureKept is how long a failure is kept for the webhook that tells of it.
const failureKept = 7 * 24 * time.Hour

// Trying is a tick that was begun and could not be made so far.
type Trying struct {
	Tick     time.Time `json:"tick"`
	Begun    time.Time `json:"begun"`
	RetryAt  time.Time `json:"retry_at"`
	Failures int       `json:"failures"`
	Error    string    `json:"error"`
	Waits    bool      `json:"waits,omitempty"` // for room in Redis: the source is not to blame
}

// State is what Redis knows of a schedule. Its zero value is a schedule that
// never ticked.
type State struct {
	Last    time.Time // the last tick that is settled; before the first, when a worker first saw the schedule
	Batch   string    // the last that a tick made
	Outcome *Outcome
	Trying  *Trying
	Missed  int       // ticks that were never made
	Paused  time.Time // since when no tick is made; zero: they are
}

// ErrNotFound means that the tick has not failed, that its webhook was not
// wanted, or that both are long ago.
var ErrNotFound = errors.New("not found")

// Store keeps the states of schedules. It is safe for concurrent use.
type Store struct {
	rdb redis.UniversalClient
	ns  keys.Namespace
}

// NewStore returns the states of a namespace that lie in rdb.
func NewStore(rdb redis.UniversalClient, ns keys.Namespace) *Store { return &Store{rdb, ns} }

var (
	//go:embed look.lua
	lookSource string
	lookScript = redis.NewScript(lookSource)
	//go:embed settle.lua
	settleSource string
	settleScript = redis.NewScript(settleSource)
)

// lastField and tryingField have the expression in their names: a schedule with
// another one begins anew, and workers of two configurations do not disturb
// each other.
func (s Schedule) lastField() string   { return "last " + s.Cron + " " + s.Zone }
func (s Schedule) tryingField() string { return "trying " + s.Cron + " " + s.Zone }

// State returns what is known of s, and the time by the clock of Redis.
func (st *Store) State(ctx context.Context, s Schedule) (State, time.Time, error) {
	return st.look(ctx, s, 0)
}

// Begin is State, and s ticks from now on if it was never begun.
func (st *Store) Begin(ctx context.Context, s Schedule) (State, time.Time, error) {
	return st.look(ctx, s, 1)
}

func (st *Store) look(ctx context.Context, s Schedule, begin int) (state State, now time.Time, err error) {
	f, err := lookScript.Run(ctx, st.rdb, []string{st.ns.Schedule(s.Name)}, s.lastField(), s.tryingField(),
		begin).StringSlice()
	if err != nil {
		return State{}, time.Time{}, fmt.Errorf("read schedule %s: %w", s.Name, err)
	}
	var errs []error
	read := func(text string, v any) {
		if text != "" {
			errs = append(errs, json.Unmarshal([]byte(text), v))
		}
	}
	var micros, last, paused int64
	read(f[0], &micros)
	read(f[1], &last)
	read(f[2], &state.Trying)
	read(f[4], &state.Outcome)
	read(f[5], &state.Missed)
	read(f[6], &paused)
	if err := errors.Join(errs...); err != nil {
		return State{}, time.Time{}, fmt.Errorf("decode schedule %s: %w", s.Name, err)
	}
	if state.Outcome != nil {
		state.Outcome.list()
	}
	state.Batch = f[3]
	if paused != 0 {
		state.Paused = time.UnixMilli(paused).UTC()
	}
	if last != 0 {
		state.Last = time.UnixMilli(last).UTC()
	}
	return state, time.UnixMicro(micros).UTC(), nil
}

// Try notes that a tick could not be made so far.
func (st *Store) Try(ctx context.Context, s Schedule, t Trying) error {
	text, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("encode tick: %w", err)
	}
	return st.rdb.HSet(ctx, st.ns.Schedule(s.Name), s.tryingField(), text).Err()
}

// Settle notes what became of a tick, for good, and that a webhook is to tell of
// one that failed. It reports false where the tick or a later one is settled
// already.
func (st *Store) Settle(ctx context.Context, s Schedule, o Outcome) (bool, error) {
	text, err := json.Marshal(o)
	if err != nil {
		return false, fmt.Errorf("encode tick: %w", err)
	}
	var failure []byte
	if o.Result == Failed {
		if failure, err = json.Marshal(Failure{s.Name, o}); err != nil {
			return false, fmt.Errorf("encode tick: %w", err)
		}
	}
	id := s.BatchID(o.Tick)
	first, err := settleScript.Run(ctx, st.rdb,
		[]string{st.ns.Schedule(s.Name), st.ns.Outbox(), st.ns.Notifications(), st.ns.FailedTick(id)},
		s.lastField(), o.Tick.UnixMilli(), text, o.Batch, o.Missed, s.tryingField(),
		failure, failureKept.Milliseconds(), o.At.UnixMilli(), id).Bool()
	if err != nil {
		return false, fmt.Errorf("settle tick of schedule %s: %w", s.Name, err)
	}
	return first, nil
}

// Failure returns what a webhook tells of a tick that failed, by the id of the
// batch that it should have made. Errors: ErrNotFound, or Redis'.
func (st *Store) Failure(ctx context.Context, id string) (Failure, error) {
	text, err := st.rdb.Get(ctx, st.ns.FailedTick(id)).Bytes()
	if errors.Is(err, redis.Nil) {
		err = ErrNotFound
	}
	if err != nil {
		return Failure{}, fmt.Errorf("tick %s: %w", id, err)
	}
	var f Failure
	if err := json.Unmarshal(text, &f); err != nil {
		return Failure{}, fmt.Errorf("decode tick %s: %w", id, err)
	}
	f.list()
	return f, nil
}

// claim reports whether owner may make the ticks of s for d, while nobody else
// does: that saves the source from being read by every worker, nothing depends
// on it.
func (st *Store) claim(ctx context.Context, s Schedule, owner string, d time.Duration) (bool, error) {
	return st.rdb.SetNX(ctx, st.ns.Ticking(s.Name), owner, d).Result()
}

// extend keeps a claim for d from now.
func (st *Store) extend(ctx context.Context, s Schedule, d time.Duration) error {
	return st.rdb.PExpire(ctx, st.ns.Ticking(s.Name), d).Err()
}

// release gives a claim back.
func (st *Store) release(ctx context.Context, s Schedule) error {
	return st.rdb.Del(ctx, st.ns.Ticking(s.Name)).Err()
}

// Pause has no tick of s made until Resume. The error is that of Redis.
func (st *Store) Pause(ctx context.Context, s Schedule) error {
	_, now, err := st.State(ctx, s)
	if err == nil {
		err = st.rdb.HSetNX(ctx, st.ns.Schedule(s.Name), "paused", now.UnixMilli()).Err()
	}
	if err != nil {
		return fmt.Errorf("pause schedule %s: %w", s.Name, err)
	}
	return nil
}

// Resume has the ticks of s made again, from now on: those of the pause are not
// made up. The error is that of Redis.
func (st *Store) Resume(ctx context.Context, s Schedule) error {
	state, now, err := st.State(ctx, s)
	if err == nil && !state.Paused.IsZero() {
		_, err = st.rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
			p.HSet(ctx, st.ns.Schedule(s.Name), s.lastField(), now.UnixMilli())
			p.HDel(ctx, st.ns.Schedule(s.Name), "paused", s.tryingField())
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("resume schedule %s: %w", s.Name, err)
	}
	return nil
}

// Status is a schedule and how it stands, for people and programs.
type Status struct {
	Name     string    `json:"name"`
	Cron     string    `json:"cron"`
	Timezone string    `json:"timezone"`
	Source   string    `json:"source"` // "list", a file, or the host of a URL
	Next     time.Time `json:"next"`
	Last     *Outcome  `json:"last,omitempty"`
	Trying   *Trying   `json:"trying,omitempty"`
	Missed   int       `json:"missed"` // ticks that were never made
	// Overdue is a tick that no worker has begun for two minutes, and none is
	// at it now: none runs, or none has this schedule in its configuration.
	Overdue time.Time `json:"overdue,omitzero"`
	// Paused is since when no tick is made.
	Paused time.Time `json:"paused,omitzero"`
	// Ticks are the next ones, in the time zone of the schedule; of one that is
	// paused, those that it would have.
	Ticks []time.Time `json:"ticks"`
}

// statusTicks is how many of the next ticks a Status has.
const statusTicks = 5

// overdueAfter is how long after a tick it should be settled or tried.
const overdueAfter = 2 * time.Minute

// Status returns how the schedules stand, in their order.
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
				// A long class list is read for minutes.
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
