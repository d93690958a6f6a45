package ledger

import (
	"context"
	_ "embed"
	"encoding/json"
	"strconv"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed settle.lua
	settleSource string
	settleScript = redis.NewScript(prelude + copiesSource + settleSource)
)

// Result is the result of an accepted task.
type Result struct {
	State   State // Succeeded or Failed
	Images  []string
	Total   *int // Tencent's count of the images; nil if it is unknown
	Code    string
	Message string
}

// Settle writes the result of the snapshot's task, which ends the snapshot. Errors:
// ErrLate if the snapshot does not wait for that task, or Redis'.
func (l *Ledger) Settle(ctx context.Context, id, taskID string, r Result) error {
	return l.SettleAll(ctx, []Settlement{{ID: id, TaskID: taskID, Result: r}})[0]
}

// Settlement is the result of the task that a snapshot waits for.
type Settlement struct {
	ID, TaskID string
	Result
	Copy bool // its images are to be copied
}

// SettleAll is Settle for many snapshots in one round trip. It returns one error for
// each.
func (l *Ledger) SettleAll(ctx context.Context, all []Settlement) []error {
	replies := l.runAll(ctx, settleScript, len(all), func(i int) (string, []any) {
		s := all[i]
		images, _ := json.Marshal(s.Images) // strings always encode
		total := ""
		if s.Total != nil && *s.Total != len(s.Images) {
			total = strconv.Itoa(*s.Total)
		}
		return s.ID, []any{s.TaskID, string(s.State), images, len(s.Images), s.Code, s.Message, total, s.Copy}
	})
	errs := make([]error, len(all))
	for i, s := range all {
		reply, err := replies[i].Text()
		errs[i] = replyError(reply, err, "settle snapshot %s, task %s", s.ID, s.TaskID)
	}
	return errs
}
