package tasks

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hibiken/asynq"
)

// TypeNotify is the type of the task that delivers one webhook.
const TypeNotify = "webhook:send"

// QueueWebhooks returns the queue of these tasks in a namespace.
func QueueWebhooks(namespace string) string { return queue(namespace, "webhooks") }

// The events.
const (
	SnapshotEnded  = "snapshot.ended"
	BatchEnded     = "batch.ended"
	ScheduleFailed = "schedule.failed" // a tick was given up
	ImagesCopied   = "images.copied"   // all images of a batch are copied or lost
	DataLost       = "redis.data_lost" // Redis has lost data
	// Callback is the end of a snapshot whose room has a CallbackURL. It is called as Tencent would call it.
	Callback = "callback"
)

var events = []string{SnapshotEnded, BatchEnded, ScheduleFailed, ImagesCopied, DataLost, Callback}

// notifyVersion is the version of NotifyPayload that this release writes.
const notifyVersion = 1

// notifyTimeout bounds one run of the handler in asynq; a request takes seconds.
const notifyTimeout = time.Minute

// notifyRetention is how long a delivered task keeps its id. Two workers may enqueue the same event; the second one is
// seconds late at most.
const notifyRetention = 5 * time.Minute

// NotifyPayload is the payload of a TypeNotify task. It names the event; its data are read when the webhook is sent.
type NotifyPayload struct {
	V int `json:"v"`
	// ID is the id of the event, the TaskID and the header webhook-id.
	ID string `json:"id"`
	// URL is the receiver that the batch or, for Callback, the room names; empty
	// for the default one.
	URL  string `json:"url,omitempty"`
	Type string `json:"type"` // one of the events
	Ref  string `json:"ref"`  // id of the snapshot or the batch, or of the batch that the tick should have made
	At   int64  `json:"at"`   // when it happened, Unix ms
}

// NewNotify returns the payload of an event. Its id is derived from the event: if the same snapshot or batch ends once
// more, that is another event.
func NewNotify(event, ref string, at time.Time, url string) NotifyPayload {
	kind, _, _ := strings.Cut(event, ".")
	// The signature is over ID.TIME.BODY, so the id must have no dots. Our ids have no "_".
	id := "w-" + kind + "-" + strings.ReplaceAll(ref, ".", "_") + "-" + strconv.FormatInt(at.UnixMilli(), 10)
	return NotifyPayload{V: notifyVersion, ID: id, URL: url, Type: event, Ref: ref, At: at.UnixMilli()}
}

// Task returns the asynq task for the payload, on the queue of a namespace. The worker decides on retries, so the
// limit of asynq is out of reach.
func (p NotifyPayload) Task(namespace string) (*asynq.Task, error) {
	b, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode webhook payload: %w", err)
	}
	return asynq.NewTask(TypeNotify, b,
		asynq.Queue(QueueWebhooks(namespace)),
		asynq.TaskID(p.ID),
		asynq.MaxRetry(math.MaxInt32),
		asynq.Timeout(notifyTimeout),
		asynq.Retention(notifyRetention),
	), nil
}

// ParseNotify decodes and checks the payload of a TypeNotify task. Errors:
// ErrNewerPayload; anything else means that the payload can never be sent.
func ParseNotify(payload []byte) (NotifyPayload, error) {
	var p NotifyPayload
	if err := json.Unmarshal(payload, &p); err != nil {
		return p, fmt.Errorf("decode webhook payload: %w", err)
	}
	switch {
	case p.V > notifyVersion:
		return p, fmt.Errorf("%w: version %d, this worker knows %d", ErrNewerPayload, p.V, notifyVersion)
	case p.ID == "" || p.Ref == "":
		return p, errors.New("webhook payload has no id or no ref")
	case !slices.Contains(events, p.Type):
		return p, fmt.Errorf("webhook payload has the unknown type %.40q", p.Type)
	}
	return p, nil
}
