package results

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/hibiken/asynq"

	"tiwsnap/ledger"
	"tiwsnap/tasks"
)

// Singles returns the snapshots of single rooms: the queued ones, then the others that
// have not ended, then the ended ones, newest first. A snapshot that changes state
// meanwhile may be left out. An error ends the sequence.
func (r *Reader) Singles(ctx context.Context) iter.Seq2[Result, error] {
	return func(yield func(Result, error) bool) {
		for _, list := range []func(string, ...asynq.ListOption) ([]*asynq.TaskInfo, error){
			r.inspector.ListPendingTasks, r.inspector.ListScheduledTasks, r.inspector.ListRetryTasks,
		} {
			for n := 1; ; n++ {
				infos, err := list(r.ns.QueueInteractive(), asynq.PageSize(page), asynq.Page(n))
				if errors.Is(err, asynq.ErrQueueNotFound) {
					break
				}
				if err == nil {
					err = r.queued(ctx, infos, yield)
				}
				if err == errStop {
					return
				}
				if err != nil {
					yield(Result{}, fmt.Errorf("read the queue of single rooms: %w", err))
					return
				}
				if len(infos) < page {
					break
				}
			}
		}
		for s, err := range r.ledger.Singles(ctx) {
			if !yield(Explain(s), err) || err != nil {
				return
			}
		}
	}
}

// errStop means that the consumer has stopped the iteration.
var errStop = errors.New("stop")

// queued yields the tasks of single rooms that no worker has begun. The ledger has the
// others.
func (r *Reader) queued(ctx context.Context, infos []*asynq.TaskInfo, yield func(Result, error) bool) error {
	ids := make([]string, len(infos))
	for i, info := range infos {
		ids[i] = info.ID
	}
	records, err := r.ledger.Records(ctx, ids)
	if err != nil {
		return err
	}
	for i, info := range infos {
		p, err := tasks.ParseSnapshot(info.Payload)
		if err != nil || p.Batch != "" || records[i].State != "" {
			continue // not a single room, or begun
		}
		if !yield(Explain(ledger.Snapshot{ID: info.ID, Room: p.Room, State: ledger.Queued}), nil) {
			return errStop
		}
	}
	return nil
}
