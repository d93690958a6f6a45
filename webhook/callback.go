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

// callbackDelays are the delays before a callback is sent that Tencent's own callback may still precede: a poll may
// have found the result first. They are few, because each counts as an attempt at the webhook.
var callbackDelays = []time.Duration{2 * time.Second, 8 * time.Second}

// callback has the form of the callbacks that Tencent documents for its other tasks, with the response of
// DescribeSnapshotTask as its data. That of snapshots is not documented.
type callback struct {
	EventType string
	EventData struct {
		TaskID     string
		RoomId     uint64 `json:",omitempty"` // only if there is no task
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

// callbackBody returns the body for the CallbackURL of a room: the callback of Tencent byte for byte, or one made of
// the record if none came. It is nil if the record has expired or is in progress again. The error is a *retryLater
// while Tencent's callback may still come.
func (d *Dispatcher) callbackBody(ctx context.Context, p tasks.NotifyPayload) ([]byte, error) {
	s, err := d.ledger.Snapshot(ctx, p.Ref)
	switch {
	case errors.Is(err, ledger.ErrNotFound) || err == nil && s.EndedAt.IsZero():
		return nil, nil
	case err != nil:
		return nil, err
	}
	// After a retry the record keeps the old TaskID until there is a new one.
	made := s.TaskID != "" && !s.AcceptedAt.Before(s.SentAt)
	if made && fromTencent(s) {
		return []byte(s.Callback), nil
	}
	if tries, _ := asynq.GetRetryCount(ctx); made && s.Callback == "" && tries < len(callbackDelays) {
		return nil, &retryLater{after: callbackDelays[tries], why: "Tencent's callback may still come"}
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

// fromTencent reports whether the record has a complete callback, and one of its task if it names a task.
func fromTencent(s ledger.Snapshot) bool {
	id := tiw.ParseCallback([]byte(s.Callback)).TaskID
	return json.Valid([]byte(s.Callback)) && (id == s.TaskID || id == "")
}
