package results

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"tiwsnap/ledger"
	"tiwsnap/tiw"
)

// Failed returns the failed snapshots of batches, newest first for each batch; the
// batch "" stands for the single rooms. After those of each batch come its snapshots
// with lost images, with the code tiw.CodeImageLost. With held it returns those that
// are held for review instead. An error ends the sequence.
func (r *Reader) Failed(ctx context.Context, batches []string, held bool) iter.Seq2[Result, error] {
	of := r.ledger.Failures
	if held {
		of = r.ledger.Held
	}
	return func(yield func(Result, error) bool) {
		for _, id := range batches {
			for s, err := range of(ctx, id) {
				if !yield(r.Explain(ctx, s), err) || err != nil {
					return
				}
			}
			if held {
				continue
			}
			for s, err := range r.ledger.LostImages(ctx, id) {
				if !yield(r.lost(ctx, s), err) || err != nil {
					return
				}
			}
		}
	}
}

// lost returns a snapshot with lost images as a failure.
func (r *Reader) lost(ctx context.Context, s ledger.Snapshot) Result {
	s.Code, s.Message = tiw.CodeImageLost, s.CopyProblem
	return r.Explain(ctx, s)
}

// NothingToRetry says for people why no snapshot of a batch was retried: none failed,
// or with held none is held for review, or none of these has the code.
func (r *Reader) NothingToRetry(ctx context.Context, batch string, held bool, code string) (string, error) {
	groups, err := Group(r.Failed(ctx, []string{batch}, held))
	if err != nil {
		return "", err
	}
	state := "failed"
	if held {
		state = "is held for review"
	}
	if code == "" || len(groups) == 0 {
		return "nothing to retry: no snapshot " + state, nil
	}
	var codes []string
	for _, g := range groups {
		codes = append(codes, fmt.Sprintf("%s (%d)", g.Code, g.Count))
	}
	return fmt.Sprintf("nothing to retry: no snapshot that %s has the code %s; they have %s",
		state, code, strings.Join(codes, ", ")), nil
}

// WithTrouble returns the batches for Failed that have failed snapshots, unknown
// outcomes or lost images, and "" for the single rooms.
func (r *Reader) WithTrouble(ctx context.Context) ([]string, error) {
	ids, err := r.ledger.BatchesWithTrouble(ctx)
	return append([]string{""}, ids...), err
}

// Failure summarizes the failures with one code.
type Failure struct {
	Code    string  `json:"code"`
	Class   string  `json:"class"`
	Count   int     `json:"count"`
	Meaning string  `json:"meaning"`
	Fix     string  `json:"fix"`
	Newest  Example `json:"newest"`
}

// Example is one of the failed snapshots.
type Example struct {
	ID        string    `json:"id"`
	Message   string    `json:"message,omitempty"`
	RequestID string    `json:"request_id,omitempty"`
	TaskID    string    `json:"task_id,omitempty"`
	At        time.Time `json:"at"`
}

// Group groups failures by code, the most frequent first.
func Group(all iter.Seq2[Result, error]) ([]*Failure, error) {
	byCode := make(map[string]*Failure)
	for s, err := range all {
		if err != nil {
			return nil, err
		}
		g := byCode[s.Code]
		if g == nil {
			g = &Failure{Code: s.Code, Class: tiw.Explain(s.Code).Class.String(), Meaning: s.Meaning, Fix: s.Fix}
			byCode[s.Code] = g
		}
		g.Count++
		at := s.EndedAt
		if at.IsZero() { // held
			at = s.SentAt
		}
		if g.Count == 1 || at.After(g.Newest.At) {
			g.Newest = Example{s.ID, s.Message, s.RequestID, s.TaskID, at}
		}
	}
	return slices.SortedFunc(maps.Values(byCode), func(a, b *Failure) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Code, b.Code))
	}), nil
}
