package results

import "context"

// Found is what Find has found.
type Found struct {
	Snapshots []Result `json:"snapshots" doc:"Newest first"`
	More      bool     `json:"more" doc:"There are more than were asked for, or than the index keeps"`
}

// Find returns the snapshots of a word, at most limit: of a RoomId, a TaskID, a
// RequestId, or the value of a label. See ledger.Find.
func (r *Reader) Find(ctx context.Context, word string, limit int) (Found, error) {
	found, err := r.ledger.Find(ctx, word, limit)
	all := Found{Snapshots: []Result{}, More: found.More}
	for _, s := range found.Snapshots {
		all.Snapshots = append(all.Snapshots, Explain(s))
	}
	return all, err
}
