package web

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
)

// createSnapshotInput is one room, in the names of Tencent's API.
type createSnapshotInput struct {
	Idempotency string `header:"Idempotency-Key" maxLength:"255" doc:"A repeat with the same key creates nothing"`
	RawBody     []byte
	Body        struct {
		tasks.Room
		Key string `json:"Key,omitempty" doc:"Idempotency key: the same SdkAppId, RoomId and Key are one snapshot"`
	}
}

// EnqueuedSnapshot is what became of one room.
type EnqueuedSnapshot struct {
	ID      string `json:"id" doc:"Of the snapshot"`
	Created bool   `json:"created" doc:"false: it was there already, and nothing was added"`
}

func (a *API) createSnapshot(ctx context.Context, in *createSnapshotInput) (*accepted, error) {
	claim, err := a.keys.claim(ctx, "create-snapshot", in.Idempotency)
	if err != nil {
		return nil, err
	}
	var done *kept
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
		o.Key = "idempotency " + claim.id // where this process dies now, the next request finds it
	}
	s, err := a.queue.Room(ctx, in.Body.Room, o)
	switch {
	case errors.Is(err, enqueue.ErrExists) && in.Body.Key == "":
		return nil, problem(http.StatusUnprocessableEntity, codeKeyReused,
			"an earlier request with this Idempotency-Key has made another snapshot, %s", s.ID)
	case errors.Is(err, enqueue.ErrExists):
		return nil, problem(http.StatusConflict, codeExists, "nothing was enqueued: %v; give this one another Key", err)
	case err != nil:
		return nil, err
	}
	if !seesAll(ctx) {
		// Who asks for it first has it: who has the same Key, and comes later, has not.
		err := a.o.Redis.SetNX(ctx, a.o.Namespace.Owner(s.ID), PrincipalOf(ctx).key(), ownerKept).Err()
		if err != nil {
			return nil, err
		}
	}
	body, err := json.Marshal(EnqueuedSnapshot{s.ID, s.Created || in.Body.Key == ""})
	if err != nil {
		return nil, err
	}
	done = &kept{sum, http.StatusAccepted, a.o.Base + "/v1/snapshots/" + s.ID, string(body)}
	if !s.Created && in.Body.Key != "" {
		done.status = http.StatusOK
	}
	return done.accepted(false), nil
}

type snapshotInput struct {
	ID string `path:"id" maxLength:"80" doc:"Id of the snapshot"`
}

type snapshotOutput struct {
	Status int
	Body   results.Result
}

// ownerKept is how long it is known who has enqueued a single room: longer than
// its record is kept by far.
const ownerKept = 90 * 24 * time.Hour

// snapshot returns a snapshot that the principal of ctx may see. Errors:
// ledger.ErrNotFound, also where it may not, or Redis'.
func (a *API) snapshot(ctx context.Context, id string) (ledger.Snapshot, error) {
	s, err := a.results.Snapshot(ctx, id)
	if err != nil || seesAll(ctx) {
		return s, err
	}
	by, err := a.owner(ctx, s)
	if err == nil && by != PrincipalOf(ctx).key() {
		err = ledger.ErrNotFound
	}
	if err != nil {
		return ledger.Snapshot{}, err
	}
	return s, nil
}

// owner is who has enqueued a snapshot; empty where that is not known. Of single
// rooms it is known where the one who has could not see it otherwise.
func (a *API) owner(ctx context.Context, s ledger.Snapshot) (string, error) {
	if s.Batch != "" {
		b, err := a.ledger.Batch(ctx, s.Batch)
		return b.By, err
	}
	by, err := a.o.Redis.Get(ctx, a.o.Namespace.Owner(s.ID)).Result()
	if errors.Is(err, redis.Nil) {
		err = nil
	}
	return by, err
}

func (a *API) getSnapshot(ctx context.Context, in *snapshotInput) (*snapshotOutput, error) {
	s, err := a.snapshot(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &snapshotOutput{http.StatusOK, a.results.Explain(ctx, s)}, nil
}

func (a *API) cancelSnapshot(ctx context.Context, in *snapshotInput) (*snapshotOutput, error) {
	s, err := a.snapshot(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	by, err := a.owner(ctx, s)
	if err == nil {
		err = mayChange(ctx, by)
	}
	if err != nil {
		return nil, err
	}
	state, err := a.ledger.Cancel(ctx, in.ID, s.Room)
	if err != nil {
		return nil, err
	}
	out := &snapshotOutput{Status: http.StatusOK}
	switch state {
	case ledger.Canceled:
	case ledger.Sending: // a request is on its way; it is canceled unless that is accepted
		out.Status = http.StatusAccepted
	case ledger.Accepted:
		return nil, problem(http.StatusConflict, codeState, "Tencent has accepted it: a task cannot be called back")
	default:
		return nil, problem(http.StatusConflict, codeState, "it has %s already", state)
	}
	a.did(ctx, "cancel-snapshot", in.ID, "")
	return out, a.reread(ctx, in.ID, out)
}

func (a *API) retrySnapshot(ctx context.Context, in *snapshotInput) (*snapshotOutput, error) {
	s, err := a.snapshot(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	ok, err := a.queue.Retry(ctx, s)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, problem(http.StatusConflict, codeState,
			"it is %s: only what failed, was canceled or is held can be retried", s.State)
	}
	a.did(ctx, "retry-snapshot", in.ID, "")
	out := &snapshotOutput{Status: http.StatusAccepted}
	return out, a.reread(ctx, in.ID, out)
}

// reread puts the snapshot as it is now into an answer.
func (a *API) reread(ctx context.Context, id string, out *snapshotOutput) error {
	s, err := a.results.Snapshot(ctx, id)
	out.Body = a.results.Explain(ctx, s)
	return err
}
