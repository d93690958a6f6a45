package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/backlog"
	"tiwsnap/tasks"
)

// Snapshot is the record of one snapshot.
type Snapshot struct {
	ID                 string         `json:"id"`
	Batch              string         `json:"batch,omitempty"`
	Room               tasks.Room     `json:"room"`
	State              State          `json:"state"`
	Attempts           int            `json:"attempts"` // requests sent, refused ones included
	Answer             Answer         `json:"-"`        // kind of the last answers to polls: Refused, Odd or empty
	Answers            int            `json:"-"`        // number of these in a row
	AnswersSince       time.Time      `json:"-"`        // time of the first of them
	TaskID             string         `json:"task_id,omitempty"`
	RequestID          string         `json:"request_id,omitempty"`
	Code               string         `json:"code,omitempty"`
	Message            string         `json:"message,omitempty"`
	Images             []string       `json:"images"`                 // never nil
	Copies             []Copy         `json:"-"`                      // one for each image
	Folder             string         `json:"-"`                      // of the copies of its batch; empty if none
	CopyProblem        string         `json:"copy_problem,omitempty"` // why an image is not copied
	Total              *int           `json:"total,omitempty"`        // Tencent's count of the images, if it differs
	PossibleDuplicates int            `json:"possible_duplicates,omitempty"`
	History            []Attempt      `json:"history"`               // never nil; at most 50: the first and the last ones
	ExtraTasks         map[int]string `json:"extra_tasks,omitempty"` // TaskID by attempt, of tasks other than its own
	ReportedTasks      map[int]string `json:"-"`                     // TaskID by attempt, from unconfirmed callbacks
	Callbacks          int            `json:"callbacks,omitempty"`
	Callback           string         `json:"-"`                   // stored body of the callback of its task
	Held               bool           `json:"held,omitempty"`      // unknown, and held for review
	CreatedAt          time.Time      `json:"created_at,omitzero"` // first attempt
	SentAt             time.Time      `json:"sent_at,omitzero"`    // last attempt
	AcceptedAt         time.Time      `json:"accepted_at,omitzero"`
	EndedAt            time.Time      `json:"ended_at,omitzero"`
}

// Attempt is one request for a snapshot and its outcome.
type Attempt struct {
	Number       int       `json:"number"`                   // from 1; attempts that sent no request are left out
	SentAt       time.Time `json:"sent_at,omitzero"`         // when its intent was written
	PermitWaitMS int       `json:"permit_wait_ms,omitempty"` // how long it waited for its permit
	// Outcome is accepted; queued: no task was made; unknown: one may have been
	// made; failed; or sending: the request is in progress.
	Outcome   State  `json:"outcome"`
	Code      string `json:"code,omitempty"`       // of the error, as Tencent spells it
	RequestID string `json:"request_id,omitempty"` // of the answer, if one came
	TaskID    string `json:"task_id,omitempty"`    // of the task that it made, if known
}

// HasCode reports whether the snapshot's error has that code or, if that has no dot,
// belongs to that family. The empty code matches every snapshot.
func (s Snapshot) HasCode(code string) bool {
	return code == "" || s.Code == code || strings.HasPrefix(s.Code, code+".")
}

// Snapshot returns one record. Errors: ErrNotFound, or Redis'.
func (l *Ledger) Snapshot(ctx context.Context, id string) (Snapshot, error) {
	all, err := l.Snapshots(ctx, []string{id})
	if err != nil {
		return Snapshot{}, err
	}
	if all[0].State == "" {
		return Snapshot{}, fmt.Errorf("snapshot %s: %w", id, ErrNotFound)
	}
	return all[0], nil
}

// Snapshots returns the records of ids, in their order. A record that does not exist
// has only its ID.
func (l *Ledger) Snapshots(ctx context.Context, ids []string) ([]Snapshot, error) {
	all, err := l.Records(ctx, ids)
	if err != nil {
		return nil, err
	}
	for i, s := range all {
		batch, row, ok := tasks.SplitRowID(s.ID)
		if !ok || s.State == "" || s.Room.RoomId != 0 {
			continue
		}
		room, err := l.rooms.Room(ctx, batch, row)
		switch {
		case errors.Is(err, backlog.ErrNotFound):
			all[i] = Snapshot{ID: s.ID} // its batch has expired
		case err != nil:
			return nil, err
		default:
			all[i].Room = room
		}
	}
	return all, nil
}

// Records is Snapshots without the rooms of batches, which the backlog stores. While
// such a snapshot is in progress, its Room has the SdkAppId.
func (l *Ledger) Records(ctx context.Context, ids []string) ([]Snapshot, error) {
	fields, err := l.fields(ctx, ids)
	if err != nil {
		return nil, err
	}
	all := make([]Snapshot, len(ids))
	for i, id := range ids {
		if all[i], err = parseSnapshot(id, fields[i]); err != nil {
			return nil, err
		}
	}
	return all, l.readCopies(ctx, all)
}

// fields returns the fields of records, packed or not, in at most three round trips.
// It reads the packed records first, because most snapshots have ended, and again at
// the end for records that were packed meanwhile.
func (l *Ledger) fields(ctx context.Context, ids []string) ([]map[string]string, error) {
	all := make([]map[string]string, len(ids))
	readPacked := func() error {
		packed, err := l.packed(ctx, ids, func(i int) bool { return len(all[i]) == 0 })
		if err != nil {
			return err
		}
		for i, p := range packed {
			if p == "" {
				continue
			}
			if all[i], err = unpack(p); err != nil {
				return fmt.Errorf("record of snapshot %s: %w", ids[i], err)
			}
		}
		return nil
	}
	if err := readPacked(); err != nil {
		return nil, err
	}
	pipe := l.rdb.Pipeline()
	replies := make(map[int]*redis.MapStringStringCmd)
	for i, f := range all {
		if len(f) == 0 {
			replies[i] = pipe.HGetAll(ctx, l.ns.Snapshot(ids[i]))
		}
	}
	if len(replies) == 0 {
		return all, nil
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("read snapshots: %w", err)
	}
	for i, reply := range replies {
		all[i] = reply.Val()
	}
	return all, readPacked()
}

func parseSnapshot(id string, f map[string]string) (Snapshot, error) {
	if f["state"] == "" {
		f = nil // no record yet, only a callback that came before it
	}
	s := Snapshot{
		ID:         id,
		State:      State(f["state"]),
		Attempts:   atoi(f["attempt"]),
		Callbacks:  atoi(f["callbacks"]),
		Held:       f["held"] != "",
		TaskID:     f["task_id"],
		RequestID:  f["request_id"],
		Code:       f["code"],
		Message:    f["message"],
		CreatedAt:  unixMilli(f["created_at"]),
		SentAt:     unixMilli(f["sent_at"]),
		AcceptedAt: unixMilli(f["accepted_at"]),
		EndedAt:    unixMilli(f["ended_at"]),

		Answer:       Answer(f["answer"]),
		Answers:      atoi(f["answers"]),
		AnswersSince: unixMilli(f["answer_at"]),
	}
	if total := f["total"]; total != "" {
		s.Total = new(atoi(total))
	}
	if s.State != "" {
		s.Batch = batchOf(id)
	}
	s.Attempts -= atoi(f["unsent"])
	s.PossibleDuplicates = max(0, atoi(f["made"])-1)
	var errs []error
	if room := f["room"]; room != "" {
		errs = append(errs, json.Unmarshal([]byte(room), &s.Room))
	} else {
		s.Room.SdkAppId, _ = strconv.ParseUint(f["app"], 10, 64) // only our scripts write it
	}
	if images := f["images"]; images != "" {
		errs = append(errs, json.Unmarshal([]byte(images), &s.Images))
	}
	if s.Images == nil {
		s.Images = []string{}
	}
	s.ExtraTasks = byAttempt(f, "task:")
	for attempt, task := range s.ExtraTasks {
		if task == s.TaskID {
			s.Callback = f["callback:"+strconv.Itoa(attempt)]
		}
	}
	if reported := byAttempt(f, "told:"); s.State == Accepted || s.State.Ended() {
		maps.Copy(s.ExtraTasks, reported) // they are not polled any more
	} else {
		s.ReportedTasks = reported
	}
	maps.DeleteFunc(s.ExtraTasks, func(_ int, task string) bool { return task == s.TaskID })
	s.History = history(f)
	if err := errors.Join(errs...); err != nil {
		return s, fmt.Errorf("record of snapshot %s: %w", id, err)
	}
	return s, nil
}

// history returns the attempts from the fields "try:N" of a record, see prelude.lua.
func history(f map[string]string) []Attempt {
	all := []Attempt{}
	for n, line := range byAttempt(f, "try:") {
		v := strings.Split(line, "\t")
		if len(v) != 5 {
			continue // not written by our scripts
		}
		all = append(all, Attempt{
			Number: n, SentAt: unixMilli(v[0]), PermitWaitMS: atoi(v[1]), Outcome: State(v[2]), Code: v[3], RequestID: v[4],
			TaskID: f["task:"+strconv.Itoa(n)],
		})
	}
	if n := atoi(f["attempt"]); State(f["state"]) == Sending && f["try:"+strconv.Itoa(n)] == "" {
		all = append(all, Attempt{Number: n, SentAt: unixMilli(f["sent_at"]), Outcome: Sending})
	}
	slices.SortFunc(all, func(a, b Attempt) int { return a.Number - b.Number })
	return all
}

// byAttempt returns the fields of a record with a prefix, by number of the attempt.
func byAttempt(f map[string]string, prefix string) map[int]string {
	m := make(map[int]string)
	for name, value := range f {
		if attempt, ok := strings.CutPrefix(name, prefix); ok {
			m[atoi(attempt)] = value
		}
	}
	return m
}
