package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/enqueue"
	"tiwsnap/ledger"
	"tiwsnap/results"
	"tiwsnap/tasks"
	"tiwsnap/web"
)

// createSnapshotInput is one room, with the field names of Tencent.
type createSnapshotInput struct {
	Idempotency string `header:"Idempotency-Key" maxLength:"255" doc:"A repeat with the same key creates nothing"`
	RawBody     []byte
	Body        struct {
		tasks.Room
		Key string `json:"Key,omitempty" doc:"Idempotency key: the same SdkAppId, RoomId and Key are one snapshot"`
	}
}

// EnqueuedSnapshot is the outcome of enqueuing one room.
type EnqueuedSnapshot struct {
	ID      string `json:"id" doc:"Of the snapshot"`
	Created bool   `json:"created" doc:"false: it existed already, and nothing was added"`
}

func (a *API) createSnapshot(ctx context.Context, in *createSnapshotInput) (*accepted, error) {
	claim, err := a.keys.claim(ctx, "create-snapshot", in.Idempotency)
	if err != nil {
		return nil, err
	}
	var done *storedAnswer
	defer func() { claim.end(ctx, done, a.o.Log) }()
	digest := sha256.Sum256(in.RawBody)
	sum := hex.EncodeToString(digest[:])
	if claim.answer != nil {
		return claim.replay(sum)
	}
	if err := a.checkCallback(in.Body.Room); err != nil {
		return nil, err
	}
	o := enqueue.RoomOptions{Key: in.Body.Key, Replicated: a.o.Replicated}
	if o.Key == "" && in.Idempotency != "" {
		o.Key = "idempotency " + claim.id // if this process dies now, the next request finds it
	}
	s, err := a.queue.Room(ctx, in.Body.Room, o)
	switch {
	case errors.Is(err, enqueue.ErrExists) && in.Body.Key == "":
		return nil, web.NewProblem(http.StatusUnprocessableEntity, web.CodeKeyReused,
			"an earlier request with this Idempotency-Key has made another snapshot, %s", s.ID)
	case errors.Is(err, enqueue.ErrExists):
		return nil, web.NewProblem(http.StatusConflict, web.CodeExists,
			"nothing was enqueued: %v; give this one another Key", err)
	case err != nil:
		return nil, err
	}
	if !SeesAll(ctx) {
		// The first principal owns it: a later one with the same Key does not.
		err := a.Redis.SetNX(ctx, a.Namespace.Owner(s.ID), web.PrincipalOf(ctx).Key(), ownerKept).Err()
		if err != nil {
			return nil, err
		}
	}
	body, err := json.Marshal(EnqueuedSnapshot{s.ID, s.Created || in.Body.Key == ""})
	if err != nil {
		return nil, err
	}
	done = &storedAnswer{sum, http.StatusAccepted, a.o.Base + "/v1/snapshots/" + s.ID, string(body)}
	if !s.Created && in.Body.Key != "" {
		done.status = http.StatusOK
	}
	return done.accepted(false), nil
}

type SnapshotInput struct {
	ID string `path:"id" maxLength:"80" doc:"Id of the snapshot"`
}

type snapshotOutput struct {
	Status int
	Body   results.Result
}

// ownerKept is how long the owner of a single room is kept: much longer than its record.
const ownerKept = 90 * 24 * time.Hour

// Snapshot returns a snapshot that the principal of ctx may see. Errors: ledger.ErrNotFound, also for those it may not
// see, or that of Redis.
func (a *API) Snapshot(ctx context.Context, id string) (ledger.Snapshot, error) {
	s, err := a.Results.Snapshot(ctx, id)
	if err != nil || SeesAll(ctx) {
		return s, err
	}
	by, err := a.Owner(ctx, s)
	if err == nil && by != web.PrincipalOf(ctx).Key() {
		err = ledger.ErrNotFound
	}
	if err != nil {
		return ledger.Snapshot{}, err
	}
	return s, nil
}

// Owner returns who has enqueued a snapshot, or "" if that is not known. Of single rooms it is stored only for
// principals that could not see them otherwise.
func (a *API) Owner(ctx context.Context, s ledger.Snapshot) (string, error) {
	if s.Batch != "" {
		b, err := a.Ledger.Batch(ctx, s.Batch)
		return b.By, err
	}
	by, err := a.Redis.Get(ctx, a.Namespace.Owner(s.ID)).Result()
	if errors.Is(err, redis.Nil) {
		err = nil
	}
	return by, err
}

func (a *API) getSnapshot(ctx context.Context, in *SnapshotInput) (*snapshotOutput, error) {
	s, err := a.Snapshot(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &snapshotOutput{http.StatusOK, a.Results.Explain(ctx, s)}, nil
}

// CancelSnapshot cancels a snapshot, unless Tencent has accepted it.
func (a *API) CancelSnapshot(ctx context.Context, in *SnapshotInput) (*snapshotOutput, error) {
	s, err := a.Snapshot(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	by, err := a.Owner(ctx, s)
	if err == nil {
		err = mayChange(ctx, by)
	}
	if err != nil {
		return nil, err
	}
	state, err := a.Ledger.Cancel(ctx, in.ID, s.Room)
	if err != nil {
		return nil, err
	}
	out := &snapshotOutput{Status: http.StatusOK}
	switch state {
	case ledger.Canceled:
	case ledger.Sending: // a request is in flight; canceled unless Tencent accepts it
		out.Status = http.StatusAccepted
	case ledger.Accepted:
		return nil, web.NewProblem(http.StatusConflict, web.CodeState,
			"Tencent has accepted it: a task cannot be canceled")
	default:
		return nil, web.NewProblem(http.StatusConflict, web.CodeState, "it has %s already", state)
	}
	a.Audit(ctx, "cancel-snapshot", in.ID, "")
	return out, a.reread(ctx, in.ID, out)
}

// RetrySnapshot retries a snapshot that failed, was canceled or is held for review.
func (a *API) RetrySnapshot(ctx context.Context, in *SnapshotInput) (*snapshotOutput, error) {
	s, err := a.Snapshot(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	ok, err := a.queue.Retry(ctx, s)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, web.NewProblem(http.StatusConflict, web.CodeState,
			"it is %s: only failed, canceled and held snapshots can be retried", s.State)
	}
	a.Audit(ctx, "retry-snapshot", in.ID, "")
	out := &snapshotOutput{Status: http.StatusAccepted}
	return out, a.reread(ctx, in.ID, out)
}

// reread puts the current snapshot into an answer.
func (a *API) reread(ctx context.Context, id string, out *snapshotOutput) error {
	s, err := a.Results.Snapshot(ctx, id)
	out.Body = a.Results.Explain(ctx, s)
	return err
}
