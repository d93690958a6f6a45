package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"tiwsnap/enqueue"
	"tiwsnap/internal/plural"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
	"tiwsnap/web"
)

type BatchInput struct {
	ID string `path:"id" maxLength:"64" doc:"Id of the batch"`
}

type batchOutput struct {
	Body Batch
}

// Batch is a ledger.Batch with its rate.
type Batch struct {
	ledger.Batch
	Rate float64 `json:"rate,omitempty" doc:"Snapshots that recently ended per second; from the second request on"`
	Left float64 `json:"seconds_left,omitempty" doc:"Until the end at that rate"`
}

// Batch returns a batch that the principal of ctx may see. Errors: ledger.ErrNotFound, also for those it may not see,
// or that of Redis.
func (a *API) Batch(ctx context.Context, id string) (ledger.Batch, error) {
	b, err := a.Ledger.Batch(ctx, id)
	if err == nil && !SeesAll(ctx) && b.By != web.PrincipalOf(ctx).Key() {
		return ledger.Batch{}, ledger.ErrNotFound
	}
	return b, err
}

// SeesAll reports whether the principal of ctx may see what others have enqueued.
func SeesAll(ctx context.Context) bool {
	p := web.PrincipalOf(ctx)
	return p.May(web.RoleView)
}

// mayChange returns a *Problem if the principal of ctx may not cancel what by has enqueued.
func mayChange(ctx context.Context, by string) error {
	if p := web.PrincipalOf(ctx); !p.May(web.RoleOperate) && by != p.Key() {
		return web.NewProblem(http.StatusForbidden, "role", "%s may cancel only its own batches and rooms", p.Name)
	}
	return nil
}

func (a *API) getBatch(ctx context.Context, in *BatchInput) (*batchOutput, error) {
	b, err := a.Batch(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &batchOutput{a.WithRate(b)}, nil
}

type ListBatchesInput struct {
	Limit  int       `query:"limit" minimum:"1" maximum:"500" default:"50" doc:"How many at most"`
	Cursor string    `query:"cursor" maxLength:"100" doc:"next of the previous page"`
	State  string    `query:"state" enum:"open,running,paused,canceled,ended,failed" doc:"failed: with failures"`
	Text   string    `query:"text" maxLength:"100" doc:"Only those with this text in their id or a label name"`
	Since  time.Time `query:"since" doc:"Only those created then or later"`
	Until  time.Time `query:"until" doc:"Only those created before"`
}

// matches reports whether a batch passes the filters.
func (in *ListBatchesInput) matches(b ledger.Batch) bool {
	state := in.State == "" || b.State == in.State || in.State == "open" && !b.Ended() ||
		in.State == "failed" && b.Failed > 0
	word := strings.ToLower(in.Text)
	has := func(s string) bool { return strings.Contains(strings.ToLower(s), word) }
	return state && (has(b.ID) || slices.ContainsFunc(b.Labels, has))
}

// scanBatches bounds the batches that one page searches.
const scanBatches = 2000

type listBatchesOutput struct {
	Body struct {
		Batches []Batch `json:"batches" doc:"The newest first"`
		Next    string  `json:"next,omitempty" doc:"Cursor of the next page, if any; a short page may not be the last"`
	}
}

// ListBatches returns a page of batches, the newest first.
func (a *API) ListBatches(ctx context.Context, in *ListBatchesInput) (*listBatchesOutput, error) {
	out := &listBatchesOutput{}
	out.Body.Batches = []Batch{}
	cursor := in.Cursor
	if cursor == "" && !in.Until.IsZero() {
		cursor = ledger.CursorBefore(in.Until)
	}
	n := in.Limit
	if in.State != "" || in.Text != "" || !SeesAll(ctx) {
		n = 200
	}
	for looked := 0; looked < scanBatches; looked += n {
		all, next, err := a.Ledger.BatchPage(ctx, cursor, n)
		if err != nil {
			return nil, err
		}
		for i, b := range all {
			if b.CreatedAt.Before(in.Since) {
				return out, nil
			}
			if in.matches(b) && (SeesAll(ctx) || b.By == web.PrincipalOf(ctx).Key()) {
				out.Body.Batches = append(out.Body.Batches, a.WithRate(b))
			}
			if len(out.Body.Batches) == in.Limit {
				if out.Body.Next = next; i < len(all)-1 {
					out.Body.Next = b.Cursor()
				}
				return out, nil
			}
		}
		if cursor = next; next == "" {
			return out, nil
		}
	}
	out.Body.Next = cursor
	return out, nil
}

type cancelBatchOutput struct {
	Body struct {
		Canceled int   `json:"canceled_now" doc:"Snapshots canceled at once; fed ones follow unless Tencent accepts them"`
		Batch    Batch `json:"batch"`
	}
}

// CancelBatch cancels a batch, except snapshots that Tencent has accepted.
func (a *API) CancelBatch(ctx context.Context, in *BatchInput) (*cancelBatchOutput, error) {
	before, err := a.Batch(ctx, in.ID)
	if err == nil {
		err = mayChange(ctx, before.By)
	}
	if err != nil {
		return nil, err
	}
	out := &cancelBatchOutput{}
	if out.Body.Canceled, err = a.Ledger.CancelBatch(ctx, in.ID); err != nil {
		return nil, err
	}
	b, err := a.Batch(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if out.Body.Canceled == 0 && before.CanceledFrom == 0 && b.CanceledFrom == 0 && b.Queued+b.Sending+b.Unknown == 0 {
		return nil, web.NewProblem(http.StatusConflict, web.CodeState,
			"nothing is left to cancel: %d accepted, %d succeeded, %d failed, %d canceled",
			b.Accepted, b.Succeeded, b.Failed, b.Canceled)
	}
	out.Body.Batch = a.WithRate(b)
	a.Audit(ctx, "cancel-batch", in.ID, fmt.Sprintf("%d at once", out.Body.Canceled))
	return out, nil
}

// PauseBatch stops feeding a batch.
func (a *API) PauseBatch(ctx context.Context, in *BatchInput) (*batchOutput, error) {
	return a.setPaused(ctx, in.ID, "pause-batch", a.Backlog.Pause)
}

// ResumeBatch feeds a paused batch again.
func (a *API) ResumeBatch(ctx context.Context, in *BatchInput) (*batchOutput, error) {
	return a.setPaused(ctx, in.ID, "resume-batch", a.Backlog.Resume)
}

// setPaused pauses or resumes a batch.
func (a *API) setPaused(ctx context.Context, id, action string,
	do func(context.Context, string) error) (*batchOutput, error) {
	b, err := a.Batch(ctx, id)
	if err != nil {
		return nil, err
	}
	if b.Ended() || b.CanceledFrom > 0 && b.Queued == 0 {
		return nil, web.NewProblem(http.StatusConflict, web.CodeState, "nothing is left to feed: the batch is %s", b.State)
	}
	if err := do(ctx, id); err != nil {
		return nil, err
	}
	a.Audit(ctx, action, id, "")
	return a.getBatch(ctx, &BatchInput{ID: id})
}

// retryTime bounds one retry of a batch: enough for some 50,000 snapshots.
const retryTime = 8 * time.Second

type RetryBatchInput struct {
	ID   string `path:"id" maxLength:"64" doc:"Id of the batch"`
	Held bool   `query:"held" doc:"Retry those held for review instead; this may create a second task of each"`
	Code string `query:"code" maxLength:"100" doc:"Only this error code; InternalError includes InternalError.Timeout"`
}

type retryBatchOutput struct {
	Body struct {
		Retried  int   `json:"retried" doc:"Snapshots that were queued again"`
		Complete bool  `json:"complete" doc:"false: there are more; repeat the request"`
		Batch    Batch `json:"batch"`
	}
}

// RetryBatch retries the failed snapshots of a batch, or those held for review.
func (a *API) RetryBatch(ctx context.Context, in *RetryBatchInput) (*retryBatchOutput, error) {
	if _, err := a.Batch(ctx, in.ID); err != nil {
		return nil, err
	}
	some, cancel := context.WithTimeout(ctx, retryTime)
	defer cancel()
	out := &retryBatchOutput{}
	var err error
	out.Body.Retried, err = a.queue.RetryBatch(some, in.ID, in.Held, in.Code)
	if out.Body.Complete = err == nil; err != nil && (some.Err() == nil || ctx.Err() != nil) {
		return nil, err
	}
	if out.Body.Complete && out.Body.Retried == 0 {
		why, err := a.Results.NothingToRetry(ctx, in.ID, in.Held, in.Code)
		if err != nil {
			return nil, err
		}
		return nil, web.NewProblem(http.StatusConflict, web.CodeState, "%s", why)
	}
	b, err := a.Batch(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	out.Body.Batch = a.WithRate(b)
	if out.Body.Retried > 0 {
		a.Audit(ctx, "retry-batch", in.ID, strings.TrimSpace(fmt.Sprintf("%d %s", out.Body.Retried, in.Code)))
	}
	return out, nil
}

type AgainBatchInput struct {
	ID   string `path:"id" maxLength:"64" doc:"Id of the batch"`
	Name string `query:"name" pattern:"^[a-z0-9][a-z0-9-]{0,63}$" doc:"Id; default: the old id and the time"`
}

// AgainBatch is a batch with the rooms of another one.
type AgainBatch struct {
	ID    string `json:"id" doc:"Of the new batch"`
	Rooms int    `json:"rooms"`
}

type againBatchOutput struct {
	Status int
	Body   AgainBatch
}

// AgainBatch enqueues the rooms of a batch as a new batch.
func (a *API) AgainBatch(ctx context.Context, in *AgainBatchInput) (*againBatchOutput, error) {
	if _, err := a.Batch(ctx, in.ID); err != nil {
		return nil, err
	}
	if in.Name != "" && !tasks.ValidBatchID(in.Name) {
		return nil, web.Invalid("name", "must be 1 to 64 of a-z, 0-9 and -, and not begin with -")
	}
	batch, err := a.queue.Rerun(ctx, in.ID, enqueue.BatchOptions{
		ID: in.Name, By: web.PrincipalOf(ctx).Key(), Replicated: a.o.Replicated,
	})
	if err != nil {
		return nil, err
	}
	a.Audit(ctx, "again-batch", in.ID, batch.ID+": "+plural.Of(batch.Rooms, "room"))
	return &againBatchOutput{http.StatusAccepted, AgainBatch{batch.ID, batch.Rooms}}, nil
}
