package api

import (
	"context"
	"fmt"

	"tiwsnap/results"
)

type failuresInput struct {
	Batch string `query:"batch" maxLength:"64" doc:"Only of this batch"`
	Held  bool   `query:"held" doc:"Those held for review instead: the outcome of a request is unknown"`
}

type failuresOutput struct {
	Body struct {
		Failures []*results.Failure `json:"failures" doc:"By error code, the most frequent first"`
		Complete bool               `json:"complete" doc:"false: there are more than 50,000; the rest is not counted"`
	}
}

// maxFailures bounds the failures that one answer counts.
const maxFailures = 50_000

// listFailures returns the failures by error code.
func (a *API) listFailures(ctx context.Context, in *failuresInput) (*failuresOutput, error) {
	batches := []string{in.Batch}
	var err error
	if in.Batch == "" {
		batches, err = a.Results.WithTrouble(ctx)
	} else {
		_, err = a.Ledger.Batch(ctx, in.Batch)
	}
	if err != nil {
		return nil, err
	}
	out := &failuresOutput{}
	out.Body.Complete = true
	n := 0
	out.Body.Failures, err = results.Group(func(yield func(results.Result, error) bool) {
		for s, err := range a.Results.Failed(ctx, batches, in.Held) {
			if n++; n > maxFailures {
				out.Body.Complete = false
				return
			}
			if !yield(s, err) {
				return
			}
		}
	})
	if out.Body.Failures == nil {
		out.Body.Failures = []*results.Failure{}
	}
	return out, err
}

type RetryFailuresInput struct {
	Code string `query:"code" maxLength:"100" doc:"Only this error code; InternalError includes InternalError.Timeout"`
	Held bool   `query:"held" doc:"Retry those held for review instead; this may create a second task of each"`
}

type retryFailuresOutput struct {
	Body struct {
		Retried  int  `json:"retried" doc:"Snapshots that were queued again"`
		Complete bool `json:"complete" doc:"false: there are more; repeat the request"`
	}
}

// RetryFailures retries the failed snapshots of all batches, or those held for review.
func (a *API) RetryFailures(ctx context.Context, in *RetryFailuresInput) (*retryFailuresOutput, error) {
	ids, err := a.Results.WithTrouble(ctx)
	if err != nil {
		return nil, err
	}
	some, cancel := context.WithTimeout(ctx, retryTime)
	defer cancel()
	out := &retryFailuresOutput{}
	out.Body.Complete = true
	for _, id := range ids {
		n, err := a.queue.RetryBatch(some, id, in.Held, in.Code)
		out.Body.Retried += n
		if err != nil && (some.Err() == nil || ctx.Err() != nil) {
			return nil, err
		}
		if err != nil {
			out.Body.Complete = false
			break
		}
	}
	if out.Body.Retried > 0 {
		a.Audit(ctx, "retry-failures", in.Code, fmt.Sprint(out.Body.Retried))
	}
	return out, nil
}
