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

// TypeNotify is the type of the task that tells one receiver of one event.
const TypeNotify = "webhook:send"

// QueueWebhooks is its queue in a namespace.
func QueueWebhooks(namespace string) string { return queue(namespace, "webhooks") }

// The events.
const (
	SnapshotEnded  = "snapshot.ended"
	BatchEnded     = "batch.ended"
	ScheduleFailed = "schedule.failed" // a tick was given up
	ImagesCopied   = "images.copied"   // those of a batch, but for those that are lost
	DataLost       = "redis.data_lost" // Redis has lost data
	// Callback is the end of a snapshot whose room has a CallbackURL: that is
	// called as Tencent would.
	Callback = "callback"
)

var events = []string{SnapshotEnded, BatchEnded, ScheduleFailed, ImagesCopied, DataLost, Callback}

// notifyVersion is the version of NotifyPayload that this release writes.
const notifyVersion = 1

// notifyTimeout bounds one run of the handler in asynq; a request takes seconds.
const notifyTimeout = time.Minute

// notifyRetention is how long a delivered task keeps its id taken. Two workers
// may find the same event; the second one is late by seconds at most.
const notifyRetention = 5 * time.Minute

// NotifyPayload is the payload of a TypeNotify task. It names what has
// happened and says nothing about it: what is sent is read when it is sent.
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

// NewNotify returns the payload for an event. Its id follows from the event:
// the same snapshot or batch that ends once more is another event.
func NewNotify(event, ref string, at time.Time, url string) NotifyPayload {
	kind, _, _ := strings.Cut(event, ".")
	// What is signed is ID.TIME.BODY, so the id has no dots; ours have no "_".
	id := "w-" + kind + "-" + strings.ReplaceAll(ref, ".", "_") + "-" + strconv.FormatInt(at.UnixMilli(), 10)
	return NotifyPayload{V: notifyVersion, ID: id, URL: url, Type: event, Ref: ref, At: at.UnixMilli()}
}

// Task returns the asynq task for the payload, on the queue of a namespace.
// When to try again and when to give up is the worker's to say, so asynq's own
// limit is out of reach.
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
