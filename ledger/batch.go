package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	"github.com/redis/go-redis/v9"
)

// Batch is a batch and the number of its snapshots in each state.
type Batch struct {
	ID                 string    `json:"id"`
	State              string    `json:"state"` // running, paused, canceled or ended
	Total              int       `json:"total"`
	Queued             int       `json:"queued"`
	Sending            int       `json:"sending"`
	Unknown            int       `json:"unknown"`
	Accepted           int       `json:"accepted"`
	Succeeded          int       `json:"succeeded"`
	Failed             int       `json:"failed"`
	Canceled           int       `json:"canceled"`
	NoImage            int       `json:"no_image"` // of the succeeded ones, those without an image
	Images             int       `json:"images"`
	MissingImages      int       `json:"missing_images,omitempty"` // counted by Tencent, but without a URL
	CopiedImages       int       `json:"images_copied,omitempty"`
	PendingImages      int       `json:"images_pending,omitempty"` // still to be copied
	LostImages         int       `json:"images_lost,omitempty"`    // not copied before Tencent deleted them
	Folder             string    `json:"-"`                        // of the copies in their store; empty if none
	Archived           string    `json:"-"`                        // version of the written lists, see Archive
	PossibleDuplicates int       `json:"possible_duplicates"`
	Paused             bool      `json:"paused,omitempty"`
	CanceledFrom       int       `json:"-"`                 // first row that was canceled before it was fed; 0: none
	Webhook            string    `json:"webhook,omitempty"` // its own receiver, without the path, which may be secret
	Labels             []string  `json:"labels"`            // label names of its rooms, sorted; never nil
	By                 string    `json:"by,omitempty"`      // who enqueued it
	CreatedAt          time.Time `json:"created_at"`
	EndedAt            time.Time `json:"ended_at,omitzero"`
}

// Ended reports whether every snapshot of the batch has ended.
func (b Batch) Ended() bool { return !b.EndedAt.IsZero() }

// Done returns the number of snapshots that have ended.
func (b Batch) Done() int { return b.Succeeded + b.Failed + b.Canceled }

// CanceledUnfed reports whether a row (from 1) was canceled with the batch before it
// was fed. Such a snapshot has no record.
func (b Batch) CanceledUnfed(row int) bool { return b.CanceledFrom > 0 && row >= b.CanceledFrom }

// Batch returns one batch. Errors: ErrNotFound, or Redis'.
func (l *Ledger) Batch(ctx context.Context, id string) (Batch, error) {
	f, err := l.rdb.HGetAll(ctx, l.ns.Batch(id)).Result()
	if err != nil {
		return Batch{}, fmt.Errorf("read batch %s: %w", id, err)
	}
	if len(f) == 0 {
		return Batch{}, fmt.Errorf("batch %s: %w", id, ErrNotFound)
	}
	return parseBatch(id, f)
}

// BatchesOf returns the batches of these ids, in their order. Expired ones are left
// out.
func (l *Ledger) BatchesOf(ctx context.Context, ids []string) ([]Batch, error) {
	pipe := l.rdb.Pipeline()
	replies := make([]*redis.MapStringStringCmd, len(ids))
	for i, id := range ids {
		replies[i] = pipe.HGetAll(ctx, l.ns.Batch(id))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("read batches: %w", err)
	}
	all := []Batch{}
	for i, id := range ids {
		if f := replies[i].Val(); len(f) > 0 {
			b, err := parseBatch(id, f)
			if err != nil {
				return nil, err
			}
			all = append(all, b)
		} else if err := l.drop(ctx, id); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// receiver returns the scheme and host of a URL, or "".
func receiver(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

func parseBatch(id string, f map[string]string) (Batch, error) {
	b := Batch{
		ID:                 id,
		Total:              atoi(f["total"]),
		Sending:            atoi(f["sending"]),
		Unknown:            atoi(f["unknown"]),
		Accepted:           atoi(f["accepted"]),
		Succeeded:          atoi(f["succeeded"]),
		Failed:             atoi(f["failed"]),
		Canceled:           atoi(f["canceled"]),
		NoImage:            atoi(f["no_image"]),
		Images:             atoi(f["images"]),
		MissingImages:      atoi(f["missing_images"]),
		CopiedImages:       atoi(f["images_copied"]),
		PendingImages:      atoi(f["images_pending"]),
		LostImages:         atoi(f["images_lost"]),
		Folder:             f["folder"],
		Archived:           f["archived"],
		PossibleDuplicates: atoi(f["possible_duplicates"]),
		Paused:             f["paused"] != "",
		CanceledFrom:       atoi(f["canceled_from"]),
		Webhook:            receiver(f["webhook"]),
		By:                 f["by"],
		CreatedAt:          unixMilli(f["created_at"]),
		EndedAt:            unixMilli(f["ended_at"]),
	}
	switch {
	case b.Paused:
		b.State = "paused"
	case b.CanceledFrom > 0:
		b.State = "canceled"
	case b.Ended():
		b.State = "ended"
	default:
		b.State = "running"
	}
	b.Queued = b.Total - b.Sending - b.Unknown - b.Accepted - b.Done()
	if labels := f["labels"]; labels != "" {
		if err := json.Unmarshal([]byte(labels), &b.Labels); err != nil {
			return b, fmt.Errorf("batch %s: labels: %w", id, err)
		}
	}
	if b.Labels == nil {
		b.Labels = []string{}
	}
	return b, nil
}
