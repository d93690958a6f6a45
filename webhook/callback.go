package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"

	"tiwsnap/ledger"
	"tiwsnap/tasks"
	"tiwsnap/tiw"
)

// callbackWaits is how long Tencent's callback is waited for after the end of a
// snapshot, since a poll may have found the result first. They are few, as each
// counts as a try of the webhook.
var callbackWaits = []time.Duration{2 * time.Second, 8 * time.Second}

// callback is the callback of a snapshot as Tencent documents it for its
// other tasks, with the answer of DescribeSnapshotTask as its data. The real
// one is not documented.
type callback struct {
	EventType string
	EventData struct {
		TaskID     string
		RoomId     uint64 `json:",omitempty"` // only where there is no task
		Status     string
		CreateTime int64 `json:",omitempty"` // Unix s
		FinishTime int64 // Unix s
		Result     struct {
			ErrorCode    string
			ErrorMessage string
			Total        int
			Snapshots    []string
		}
	}
	SdkAppId  uint64
	Timestamp int64 // Unix s
}

// callbackBody is what a room's CallbackURL is told: what Tencent has sent for the
// task, byte for byte, or where that did not come the same made of the record.
// It is nil where the record is gone, or goes on. The error is a *retryLater
// while Tencent's callback may still come.
func (d *Dispatcher) callbackBody(ctx context.Context, p tasks.NotifyPayload) ([]byte, error) {
	s, err := d.ledger.Snapshot(ctx, p.Ref)
	switch {
	case errors.Is(err, ledger.ErrNotFound) || err == nil && s.EndedAt.IsZero():
		return nil, nil
	case err != nil:
		return nil, err
	}
	// The TaskID of a life before a retry stays until there is another one.
	made := s.TaskID != "" && !s.AcceptedAt.Before(s.SentAt)
	if made && tencents(s) {
		return []byte(s.Callback), nil
	}
	if tries, _ := asynq.GetRetryCount(ctx); made && s.Callback == "" && tries < len(callbackWaits) {
		return nil, &retryLater{after: callbackWaits[tries], why: "Tencent's callback may still come"}
	}
	var b callback
	b.EventType, b.SdkAppId, b.Timestamp = "SnapshotTaskFinished", s.Room.SdkAppId, p.At/1000
	e := &b.EventData
	e.Status, e.FinishTime = "Finished", s.EndedAt.Unix()
	if made {
		e.TaskID, e.CreateTime = s.TaskID, s.AcceptedAt.Unix()
	} else {
		e.RoomId = s.Room.RoomId
	}
	e.Result.ErrorCode, e.Result.ErrorMessage = s.Code, s.Message
	if s.State == ledger.Succeeded {
		e.Result.ErrorCode, e.Result.ErrorMessage = "OK", ""
	}
	e.Result.Total, e.Result.Snapshots = len(s.Images), append([]string{}, s.Images...)
	if s.Total != nil {
		e.Result.Total = *s.Total
	}
	body, err := json.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("encode callback: %w", err)
	}
	return body, nil
}

// tencents reports whether the callback that came for the snapshot is whole and
// of its task, as far as it names one.
func tencents(s ledger.Snapshot) bool {
	id := tiw.ParseCallback([]byte(s.Callback)).TaskID
	return json.Valid([]byte(s.Callback)) && (id == s.TaskID || id == "")
}
