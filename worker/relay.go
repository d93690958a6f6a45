package worker

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

// Tencent calls one URL when a task has ended. A worker that takes callbacks and
// sends webhooks gives it its own, and calls the one that the room names when
// the result is confirmed: that is relaying. Every other worker gives Tencent
// the room's.

// relayWaits is how long Tencent's callback is waited for after the end of a
// snapshot, since a poll may have found the result first. They are few, as each
// counts as a try of the webhook.
var relayWaits = []time.Duration{2 * time.Second, 8 * time.Second}

// relays reports whether this worker itself calls the CallbackURLs of rooms.
func (w *Worker) relays() bool { return w.o.CallbackURL != nil && w.o.Webhooks.Sender != nil }

// callbackURL is the CallbackURL of an attempt's request, or empty.
func (w *Worker) callbackURL(p tasks.SnapshotPayload, attempt int) string {
	switch own := p.Room.CallbackURL; {
	case own != "" && !w.relays():
		return own
	case w.o.CallbackURL != nil:
		return w.o.CallbackURL(p.ID, attempt)
	}
	return w.o.OtherCallbackURL
}

// callbackBody is the callback of a snapshot as Tencent documents it for its
// other tasks, with the answer of DescribeSnapshotTask as its data. The real
// one is not documented.
type callbackBody struct {
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

// relayBody is what a room's CallbackURL is told: what Tencent has sent for the
// task, byte for byte, or where that did not come the same made of the record.
// It is nil where the record is gone, or goes on. The error is a *retryLater
// while Tencent's callback may still come.
func (w *Worker) relayBody(ctx context.Context, p tasks.NotifyPayload) ([]byte, error) {
	s, err := w.ledger.Snapshot(ctx, p.Ref)
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
	if tries, _ := asynq.GetRetryCount(ctx); made && s.Callback == "" && tries < len(relayWaits) {
		return nil, &retryLater{after: relayWaits[tries], why: "Tencent's callback may still come"}
	}
	var b callbackBody
	b.EventType, b.SdkAppId, b.Timestamp = "SnapshotTaskFinished", s.Room.SdkAppId, p.At/1000
	d := &b.EventData
	d.Status, d.FinishTime = "Finished", s.EndedAt.Unix()
	if made {
		d.TaskID, d.CreateTime = s.TaskID, s.AcceptedAt.Unix()
	} else {
		d.RoomId = s.Room.RoomId
	}
	d.Result.ErrorCode, d.Result.ErrorMessage = s.Code, s.Message
	if s.State == ledger.Succeeded {
		d.Result.ErrorCode, d.Result.ErrorMessage = "OK", ""
	}
	d.Result.Total, d.Result.Snapshots = len(s.Images), append([]string{}, s.Images...)
	if s.Total != nil {
		d.Result.Total = *s.Total
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
