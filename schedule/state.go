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

// Result is the result of a tick.
type Result string

const (
	Enqueued Result = "enqueued" // a batch was made
	Skipped  Result = "skipped"  // the batch of the tick before was still in progress
	Late     Result = "missed"   // no worker ran, and missed ticks are not made up
	Failed   Result = "failed"   // the rooms could not be read
)

// Outcome is the end of a tick.
type Outcome struct {
	Tick   time.Time `json:"tick"`
	At     time.Time `json:"at"` // when it ended
	Result Result    `json:"result"`
	Batch  string    `json:"batch,omitempty"`
	Rooms  int       `json:"rooms,omitempty"`
	Report
	Error  string `json:"error,omitempty"`
	Missed int    `json:"missed,omitempty"` // ticks before this one that were not made
}

// fillLists makes missing reasons and notes empty lists, so that JSON has [] and not null.
func (o *Outcome) fillLists() {
	if o.Reasons == nil {
		o.Reasons = []string{}
	}
	if o.Notes == nil {
		o.Notes = []string{}
	}
}

// Failure is a tick that failed, as webhooks report it.
type Failure struct {
	Schedule string `json:"schedule"`
	Outcome
}

// failureKept is how long a failure is kept for its webhook.
const failureKept = 7 * 24 * time.Hour

// Trying is a tick that is being retried.
type Trying struct {
	Tick     time.Time `json:"tick"`
	Begun    time.Time `json:"begun"`
	RetryAt  time.Time `json:"retry_at"`
	Failures int       `json:"failures"`
	Error    string    `json:"error"`
	Waits    bool      `json:"waits,omitempty"` // Redis is full or evicts keys: the source is not to blame
}

// State is the state of a schedule in Redis. The zero value is a schedule that has never ticked.
type State struct {
	Last    time.Time // the last settled tick; before the first tick, when a worker first saw the schedule
	Batch   string    // the last batch that a tick made
	Outcome *Outcome  // of the last settled tick; nil before the first
	Trying  *Trying   // nil: no tick is being retried
	Missed  int       // ticks that were never made
	Paused  time.Time // when it was paused; zero: it is not
}

// ErrNotFound means that the tick has not failed, that no receiver wanted its webhook, or that it is too long ago.
var ErrNotFound = errors.New("not found")

// Store keeps the states of schedules. It is safe for concurrent use.
type Store struct {
	rdb redis.UniversalClient
	ns  keys.Namespace
}

// NewStore returns the store of a namespace in rdb.
func NewStore(rdb redis.UniversalClient, ns keys.Namespace) *Store { return &Store{rdb, ns} }

var (
	//go:embed read.lua
	readSource string
	readScript = redis.NewScript(readSource)
	//go:embed settle.lua
	settleSource string
	settleScript = redis.NewScript(settleSource)
)

// lastField and tryingField contain the cron expression. A schedule whose expression changes therefore starts afresh,
// and workers with different configurations do not disturb each other.
func (s Schedule) lastField() string   { return "last " + s.Cron + " " + s.Zone }
func (s Schedule) tryingField() string { return "trying " + s.Cron + " " + s.Zone }

// State returns the state of s and the time of Redis.
func (st *Store) State(ctx context.Context, s Schedule) (State, time.Time, error) {
	return st.read(ctx, s, 0)
}

// Begin returns the same as State. A schedule that was never begun ticks from now on.
func (st *Store) Begin(ctx context.Context, s Schedule) (State, time.Time, error) {
	return st.read(ctx, s, 1)
}

func (st *Store) read(ctx context.Context, s Schedule, begin int) (state State, now time.Time, err error) {
	f, err := readScript.Run(ctx, st.rdb, []string{st.ns.Schedule(s.Name)}, s.lastField(), s.tryingField(),
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
		state.Outcome.fillLists()
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

// Try records a failed attempt at a tick.
func (st *Store) Try(ctx context.Context, s Schedule, t Trying) error {
	text, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("encode tick: %w", err)
	}
	return st.rdb.HSet(ctx, st.ns.Schedule(s.Name), s.tryingField(), text).Err()
}

// Settle records the final outcome of a tick, and adds the webhook of a failed one to the outbox. It returns false if
// the tick or a later one is settled already.
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

// Failure returns the failed tick that should have made the batch of that id. Errors: ErrNotFound, or that of Redis.
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
	f.fillLists()
	return f, nil
}

// claim leases the schedule s to owner for d. It returns false if another owner has the lease. The lease only avoids
// that every worker reads the source: correctness does not depend on it.
func (st *Store) claim(ctx context.Context, s Schedule, owner string, d time.Duration) (bool, error) {
	return st.rdb.SetNX(ctx, st.ns.Ticking(s.Name), owner, d).Result()
}

// extend renews a claim for d from now.
func (st *Store) extend(ctx context.Context, s Schedule, d time.Duration) error {
	return st.rdb.PExpire(ctx, st.ns.Ticking(s.Name), d).Err()
}

// release gives a claim back.
func (st *Store) release(ctx context.Context, s Schedule) error {
	return st.rdb.Del(ctx, st.ns.Ticking(s.Name)).Err()
}

// Pause stops the ticks of s until Resume. The error is that of Redis.
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

// Resume starts the ticks of s again. Ticks of the pause are not made up. The error is that of Redis.
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
