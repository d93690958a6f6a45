// Package tasks is the contract between producers and workers: the types of the
// tasks on the asynq queues, their payloads and their options. It imports no
// other package of tiwsnap, so a producer needs only this package and asynq.
package tasks

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/hibiken/asynq"
)

// TypeSnapshot is the type of the task that makes one snapshot.
const TypeSnapshot = "snapshot:create"

// DefaultNamespace is the namespace where none is named. A namespace is one
// installation; two of them may share a Redis.
const DefaultNamespace = "tiwsnap"

// QueueInteractive is the queue of a namespace that is served first. An empty
// namespace is DefaultNamespace, here and below.
func QueueInteractive(namespace string) string { return queue(namespace, "interactive") }

// QueueBulk is the queue of a namespace that the feeder tops up from the
// backlog. It never holds more than a few seconds of work.
func QueueBulk(namespace string) string { return queue(namespace, "bulk") }

func queue(namespace, name string) string { return cmp.Or(namespace, DefaultNamespace) + "-" + name }

// payloadVersion is the version that this release writes. A worker refuses
// newer payloads without losing them (ErrNewerPayload).
const payloadVersion = 1

// handlerTimeout bounds one run of the handler in asynq. It includes the wait
// for a permit, so it is far above any wait that is normal.
const handlerTimeout = 30 * time.Minute

// ErrNewerPayload means that a newer release wrote the payload: the task
// belongs to a worker of that release.
var ErrNewerPayload = errors.New("payload was written by a newer release")

// SnapshotPayload is the payload of a TypeSnapshot task. Batch is empty for a
// snapshot that was enqueued by itself. List stands for the rooms of the batch: where
// Redis has lost its data a batch may come back with others. Empty: not known.
type SnapshotPayload struct {
	V     int    `json:"v"`
	ID    string `json:"id"`
	Batch string `json:"batch,omitempty"`
	List  string `json:"list,omitempty"`
	Room  Room   `json:"room"`
}

// NewSnapshot returns a task that snapshots one room, for producers that have
// an asynq client and nothing else of tiwsnap, on the queue of the default
// namespace: asynq.Queue(QueueInteractive(NAME)) chooses another one. The TaskID
// that asynq reports for it is the snapshot id. Options given here come after
// ours and win, but the TaskID must not be changed. The error is a *RoomError.
func NewSnapshot(room Room, opts ...asynq.Option) (*asynq.Task, error) {
	p := SnapshotPayload{ID: NewID(), Room: room}
	return p.Task(append([]asynq.Option{asynq.Queue(QueueInteractive(""))}, opts...)...)
}

// Task returns the asynq task for the payload. Its TaskID is the snapshot id:
// enqueueing the same snapshot twice is a conflict and never a second task.
// The retries are ours (see package worker), so asynq's own limit is out of reach.
func (p SnapshotPayload) Task(opts ...asynq.Option) (*asynq.Task, error) {
	if err := p.Room.Validate(); err != nil {
		return nil, err
	}
	p.V = payloadVersion
	b, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode snapshot payload: %w", err)
	}
	opts = append([]asynq.Option{
		asynq.TaskID(p.ID),
		asynq.MaxRetry(math.MaxInt32),
		asynq.Timeout(handlerTimeout),
	}, opts...)
	return asynq.NewTask(TypeSnapshot, b, opts...), nil
}

// ParseSnapshot decodes and validates the payload of a TypeSnapshot task.
// Errors: ErrNewerPayload; anything else means that the payload can never run.
func ParseSnapshot(payload []byte) (SnapshotPayload, error) {
	var p SnapshotPayload
	if err := json.Unmarshal(payload, &p); err != nil {
		return p, fmt.Errorf("decode snapshot payload: %w", err)
	}
	if p.V > payloadVersion {
		return p, fmt.Errorf("%w: version %d, this worker knows %d", ErrNewerPayload, p.V, payloadVersion)
	}
	if p.ID == "" {
		return p, errors.New("snapshot payload has no id")
	}
	return p, p.Room.Validate()
}

// NewID returns a new random snapshot id.
func NewID() string { return "s-" + strings.ToLower(rand.Text()[:20]) }

// maxKey is the length of a key in bytes.
const maxKey = 255

// CheckKey returns a *RoomError unless key can be given to KeyID: 1 to 255
// bytes of printable text.
func CheckKey(key string) error {
	switch {
	case key == "":
		return &RoomError{[]FieldError{{"Key", "is empty"}}}
	case len(key) > maxKey:
		return &RoomError{[]FieldError{{"Key", fmt.Sprintf("is %d bytes long, at most %d are allowed", len(key), maxKey)}}}
	case !utf8.ValidString(key) || strings.ContainsFunc(key, func(r rune) bool { return !unicode.IsPrint(r) }):
		return &RoomError{[]FieldError{{"Key", fmt.Sprintf("is not printable text: %.40q", key)}}}
	}
	return nil
}

// KeyID returns the snapshot id of a room and a key, such as the id of a class
// session: always the same for the same three, whoever asks.
func KeyID(sdkAppID, roomID uint64, key string) string {
	b := binary.BigEndian.AppendUint64(nil, sdkAppID)
	b = binary.BigEndian.AppendUint64(b, roomID)
	b = binary.BigEndian.AppendUint64(b, uint64(len(key)))
	sum := sha256.Sum256(append(b, key...))
	return "s-" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:20])) // 160 bits, no padding
}

// RowID is the snapshot id of row n (from 1) of a batch.
func RowID(batch string, n int) string { return batch + "." + strconv.Itoa(n) }

// SplitRowID is the reverse of RowID. ok is false for an id that does not
// belong to a batch.
func SplitRowID(id string) (batch string, n int, ok bool) {
	batch, row, found := strings.Cut(id, ".")
	n, err := strconv.Atoi(row)
	if !found || err != nil || n < 1 || !ValidBatchID(batch) {
		return "", 0, false
	}
	return batch, n, true
}

// ValidBatchID reports whether id can name a batch: 1 to 64 of a-z, 0-9 and
// "-", not beginning with "-".
func ValidBatchID(id string) bool {
	if id == "" || len(id) > 64 || id[0] == '-' {
		return false
	}
	for _, c := range []byte(id) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}
