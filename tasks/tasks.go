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

// DefaultNamespace is the namespace if none is named. A namespace is an installation; several may share a Redis.
const DefaultNamespace = "tiwsnap"

// QueueInteractive returns the queue of a namespace that is served first. Here and below, an empty namespace is
// DefaultNamespace.
func QueueInteractive(namespace string) string { return queue(namespace, "interactive") }

// QueueBulk returns the queue of a namespace that the feeder fills from the backlog. It has a few seconds of work at
// most.
func QueueBulk(namespace string) string { return queue(namespace, "bulk") }

func queue(namespace, name string) string { return cmp.Or(namespace, DefaultNamespace) + "-" + name }

// payloadVersion is the version that this release writes. A worker refuses
// newer payloads without losing them (ErrNewerPayload).
const payloadVersion = 1

// handlerTimeout bounds one run of the handler in asynq. It includes the wait for a permit, so it is much longer than
// any normal wait.
const handlerTimeout = 30 * time.Minute

// ErrNewerPayload means that a newer release wrote the payload: the task
// belongs to a worker of that release.
var ErrNewerPayload = errors.New("payload was written by a newer release")

// SnapshotPayload is the payload of a TypeSnapshot task. Batch is empty for a snapshot without a batch. List
// identifies the rooms of the batch, because a batch of the same id may come back with other rooms after a loss of
// Redis' data; empty: unknown.
type SnapshotPayload struct {
	V     int    `json:"v"`
	ID    string `json:"id"`
	Batch string `json:"batch,omitempty"`
	List  string `json:"list,omitempty"`
	Room  Room   `json:"room"`
}

// NewSnapshot returns a task that snapshots one room, for producers with only an asynq client. It is for the queue of
// the default namespace; the option asynq.Queue(QueueInteractive(NAME)) selects another one. The TaskID that asynq
// returns is the snapshot id. Options override ours, but the TaskID must not be changed. The error is a *RoomError.
func NewSnapshot(room Room, opts ...asynq.Option) (*asynq.Task, error) {
	p := SnapshotPayload{ID: NewID(), Room: room}
	return p.Task(append([]asynq.Option{asynq.Queue(QueueInteractive(""))}, opts...)...)
}

// Task returns the asynq task for the payload. Its TaskID is the snapshot id, so enqueueing a snapshot twice is a
// conflict and never makes a second task. Package worker decides on retries, so the limit of asynq is out of reach.
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

// maxKey is the maximum length of a key in bytes.
const maxKey = 255

// CheckKey returns a *RoomError unless key is valid for KeyID: 1 to 255 bytes of printable text.
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

// KeyID returns the snapshot id of a room and a key, such as the id of a class session. The same three values always
// give the same id.
func KeyID(sdkAppID, roomID uint64, key string) string {
	b := binary.BigEndian.AppendUint64(nil, sdkAppID)
	b = binary.BigEndian.AppendUint64(b, roomID)
	b = binary.BigEndian.AppendUint64(b, uint64(len(key)))
	sum := sha256.Sum256(append(b, key...))
	return "s-" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:20])) // 160 bits, no padding
}

// RowID returns the snapshot id of row n (from 1) of a batch.
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
