package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/url"
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
	Answer             Answer         `json:"-"`        // Refused or Odd: the kind of the last ones about its task,
	Answers            int            `json:"-"`        // how many in a row,
	AnswersSince       time.Time      `json:"-"`        // and when the first of them came
	TaskID             string         `json:"task_id,omitempty"`
	RequestID          string         `json:"request_id,omitempty"`
	Code               string         `json:"code,omitempty"`
	Message            string         `json:"message,omitempty"`
	Images             []string       `json:"images"`                 // never nil
	Copies             []Copy         `json:"-"`                      // what became of each of them
	Folder             string         `json:"-"`                      // of the copies of its batch; empty if none
	CopyProblem        string         `json:"copy_problem,omitempty"` // why one of them is not copied
	Total              *int           `json:"total,omitempty"`        // Tencent's count of the images, if it differs
	PossibleDuplicates int            `json:"possible_duplicates,omitempty"`
	History            []Attempt      `json:"history"`               // never nil; of more than 50, the first and last
	ExtraTasks         map[int]string `json:"extra_tasks,omitempty"` // TaskID by attempt, of the tasks beside its own
	ReportedTasks      map[int]string `json:"-"`                     // TaskID by attempt, from unconfirmed callbacks
	Callbacks          int            `json:"callbacks,omitempty"`
	Callback           string         `json:"-"`                   // body that came for its task, as far as it is kept
	Held               bool           `json:"held,omitempty"`      // unknown, and waits for a person
	CreatedAt          time.Time      `json:"created_at,omitzero"` // first attempt
	SentAt             time.Time      `json:"sent_at,omitzero"`    // last attempt
	AcceptedAt         time.Time      `json:"accepted_at,omitzero"`
	EndedAt            time.Time      `json:"ended_at,omitzero"`
}

// Attempt is one request that was sent for a snapshot, and what became of it.
type Attempt struct {
	Number       int       `json:"number"`                   // from 1; those that sent no request are left out
	SentAt       time.Time `json:"sent_at,omitzero"`         // when its intent was written
	PermitWaitMS int       `json:"permit_wait_ms,omitempty"` // how long it had waited for its permit
	// Outcome is accepted; queued: no task was made; unknown: one may have been
	// made; failed; or sending: the request is on its way.
	Outcome   State  `json:"outcome"`
	Code      string `json:"code,omitempty"`       // of the error, as Tencent spells it
	RequestID string `json:"request_id,omitempty"` // of the answer, if one came
	TaskID    string `json:"task_id,omitempty"`    // of the task that it has made, as far as that is known
}

// HasCode reports whether the snapshot's error is of that code or, where that
// has no dot, of that family. Every snapshot is of the empty code.
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

// Snapshots returns the records of ids, in their order. One that does not exist
// has nothing but its ID.
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

// Records is Snapshots without the rooms of batches: those lie in the backlog.
// While such a snapshot is in progress the SdkAppId of its room is set.
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

// fields returns the fields of records, packed or not, in at most three round
// trips. Most of many have ended, so that is where it looks first; what is packed
// meanwhile is found by a second look.
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

// packed returns the packed records of those ids that are wanted, as far as there
// are any, in one round trip.
func (l *Ledger) packed(ctx context.Context, ids []string, wanted func(i int) bool) ([]string, error) {
	of := make(map[string][]int) // by batch: indexes in ids
	for i, id := range ids {
		if wanted(i) {
			of[batchOf(id)] = append(of[batchOf(id)], i)
		}
	}
	all := make([]string, len(ids))
	if len(of) == 0 {
		return all, nil
	}
	pipe := l.rdb.Pipeline()
	replies := make(map[string]*redis.SliceCmd)
	for batch, in := range of {
		fields := make([]string, len(in))
		for n, i := range in {
			fields[n] = strings.TrimPrefix(ids[i], batch+".")
		}
		replies[batch] = pipe.HMGet(ctx, l.ns.Packed(batch), fields...)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("read packed snapshots: %w", err)
	}
	for batch, reply := range replies {
		for n, v := range reply.Val() {
			all[of[batch][n]], _ = v.(string)
		}
	}
	return all, nil
}

func parseSnapshot(id string, f map[string]string) (Snapshot, error) {
	if f["state"] == "" {
		f = nil // there is none yet, only a callback that came before it
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
		s.Room.SdkAppId, _ = strconv.ParseUint(f["app"], 10, 64) // we alone write it
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
		maps.Copy(s.ExtraTasks, reported) // nobody will ask about them
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

// history is what became of the attempts, from what prelude.lua has noted.
func history(f map[string]string) []Attempt {
	all := []Attempt{}
	for n, line := range byAttempt(f, "try:") {
		v := strings.Split(line, "\t")
		if len(v) != 5 {
			continue // none of ours
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

// byAttempt collects the fields of one kind that a record has for attempts.
func byAttempt(f map[string]string, prefix string) map[int]string {
	m := make(map[int]string)
	for name, value := range f {
		if attempt, ok := strings.CutPrefix(name, prefix); ok {
			m[atoi(attempt)] = value
		}
	}
	return m
}

// Batch is a batch and how many of its snapshots are in which state.
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
	MissingImages      int       `json:"missing_images,omitempty"` // that Tencent has counted and not named
	CopiedImages       int       `json:"images_copied,omitempty"`
	PendingImages      int       `json:"images_pending,omitempty"` // that will be copied
	LostImages         int       `json:"images_lost,omitempty"`    // that could not be copied while Tencent had them
	Folder             string    `json:"-"`                        // of the copies in their store; empty if none
	Archived           string    `json:"-"`                        // what Archive has noted
	PossibleDuplicates int       `json:"possible_duplicates"`
	Paused             bool      `json:"paused,omitempty"`
	CanceledFrom       int       `json:"-"`                 // first row that was canceled before it was fed; 0: none
	Webhook            string    `json:"webhook,omitempty"` // its own receiver, without the path: that may be a key
	Labels             []string  `json:"labels"`            // label names of its rooms, sorted; never nil
	By                 string    `json:"by,omitempty"`      // who has enqueued it
	CreatedAt          time.Time `json:"created_at"`
	EndedAt            time.Time `json:"ended_at,omitzero"`
}

// Ended reports whether every snapshot of the batch has ended.
func (b Batch) Ended() bool { return !b.EndedAt.IsZero() }

// Done is the number of snapshots that have ended.
func (b Batch) Done() int { return b.Succeeded + b.Failed + b.Canceled }

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

// Batches returns the batches that have not expired, newest first, at most n;
// 0 means all of them.
func (l *Ledger) Batches(ctx context.Context, n int) ([]Batch, error) {
	ids, err := l.rdb.ZRevRange(ctx, l.ns.Batches(), 0, int64(n)-1).Result()
	if err != nil {
		return nil, fmt.Errorf("read batches: %w", err)
	}
	all, err := l.BatchesOf(ctx, ids)
	if err != nil {
		return nil, err
	}
	return all, l.dropExpired(ctx)
}

// OpenBatches returns the batches that have not ended, newest first, at most n,
// and how many there are.
func (l *Ledger) OpenBatches(ctx context.Context, n int) (newest []Batch, total int, err error) {
	return l.openBatches(ctx, l.rdb.ZRevRange, n)
}

// OldestOpen returns the batches that have not ended, oldest first, at most n.
func (l *Ledger) OldestOpen(ctx context.Context, n int) ([]Batch, error) {
	all, _, err := l.openBatches(ctx, l.rdb.ZRange, n)
	return all, err
}

func (l *Ledger) openBatches(
	ctx context.Context, read func(ctx context.Context, key string, start, stop int64) *redis.StringSliceCmd, n int,
) (all []Batch, total int, err error) {
	ids, err := read(ctx, l.ns.Running(), 0, int64(n)-1).Result()
	var number int64
	if err == nil {
		number, err = l.rdb.ZCard(ctx, l.ns.Running()).Result()
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read open batches: %w", err)
	}
	all, err = l.BatchesOf(ctx, ids)
	return all, int(number), err
}

// BatchesWithTrouble returns the ids of the batches that have snapshots which
// failed, or whose outcome is unknown, or images that are lost, newest first. It
// reads three counters of every batch.
func (l *Ledger) BatchesWithTrouble(ctx context.Context) (ids []string, err error) {
	for all, err := range l.ranks(ctx, l.ns.Batches()) {
		if err != nil {
			return nil, err
		}
		pipe := l.rdb.Pipeline()
		counts := make([]*redis.SliceCmd, len(all))
		for i, id := range all {
			counts[i] = pipe.HMGet(ctx, l.ns.Batch(id), "failed", "unknown", "images_lost")
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return nil, fmt.Errorf("read batches: %w", err)
		}
		for i, id := range all {
			for _, v := range counts[i].Val() {
				if n, _ := v.(string); atoi(n) > 0 {
					ids = append(ids, id)
					break
				}
			}
		}
	}
	return ids, nil
}

// ErrCursor means that a cursor is none that BatchPage has returned.
var ErrCursor = errors.New("not a cursor")

// BatchPage returns at most n batches, newest first, that come after the cursor
// of the page before; empty: from the newest on. next is the cursor of the next
// page, empty if there is none. Errors: ErrCursor, or Redis'.
func (l *Ledger) BatchPage(ctx context.Context, cursor string, n int) (all []Batch, next string, err error) {
	from, seen := "+inf", ""
	if cursor != "" {
		var ok bool
		from, seen, ok = strings.Cut(cursor, ".")
		if _, err := strconv.ParseInt(from, 10, 64); !ok || err != nil {
			return nil, "", ErrCursor
		}
	}
	var found []redis.Z
	for offset := int64(0); len(found) <= n; {
		got, err := l.rdb.ZRevRangeByScoreWithScores(ctx, l.ns.Batches(),
			&redis.ZRangeBy{Min: "-inf", Max: from, Offset: offset, Count: int64(n) + 1}).Result()
		if err != nil {
			return nil, "", fmt.Errorf("read batches: %w", err)
		}
		for _, z := range got {
			if score(z) != from || z.Member.(string) < seen { // else it is on a page before
				found = append(found, z)
			}
		}
		if len(got) <= n {
			break
		}
		offset += int64(len(got))
	}
	if len(found) > n {
		found = found[:n]
		last := found[n-1]
		next = score(last) + "." + last.Member.(string)
	}
	all, err = l.BatchesOf(ctx, names(found))
	return all, next, err
}

// Cursor is that of the page which comes after the batch.
func (b Batch) Cursor() string { return strconv.FormatInt(b.CreatedAt.UnixMilli(), 10) + "." + b.ID }

// CursorBefore is that of the page of batches which were made before t.
func CursorBefore(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) + "." }

func names(members []redis.Z) []string {
	ids := make([]string, len(members))
	for i, m := range members {
		ids[i] = m.Member.(string)
	}
	return ids
}

func score(z redis.Z) string { return strconv.FormatInt(int64(z.Score), 10) }

// BatchesOf returns the batches of these ids, without those that have expired.
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

// Purge drops the records of single snapshots whose retention is over and what is
// left of expired batches, looking at the oldest ones, and keeps the index for as
// long as any record may be found by it.
func (l *Ledger) Purge(ctx context.Context) error {
	for n := purgeMany; n == purgeMany; {
		var err error
		n, err = expireScript.Run(ctx, l.rdb, []string{l.ns.Packed(""), l.ns.Expiring()},
			l.o.Retention.Milliseconds(), purgeMany).Int()
		if err != nil {
			return fmt.Errorf("drop expired records: %w", err)
		}
	}
	if err := l.dropExpired(ctx); err != nil {
		return err
	}
	return l.keepIndexes(ctx)
}

// purgeMany is how many of the oldest batches one look takes.
const purgeMany = 100

func (l *Ledger) dropExpired(ctx context.Context) error {
	ids, err := l.rdb.ZRange(ctx, l.ns.Batches(), 0, purgeMany-1).Result()
	if err != nil {
		return fmt.Errorf("read batches: %w", err)
	}
	pipe := l.rdb.Pipeline()
	there := make([]*redis.IntCmd, len(ids))
	for i, id := range ids {
		there[i] = pipe.Exists(ctx, l.ns.Batch(id))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("look for expired batches: %w", err)
	}
	for i, id := range ids {
		if there[i].Val() == 0 {
			if err := l.drop(ctx, id); err != nil {
				return err
			}
		}
	}
	return nil
}

// drop drops what is left of a batch that has expired. One that was enqueued anew
// in this moment stays.
func (l *Ledger) drop(ctx context.Context, id string) error {
	err := dropScript.Run(ctx, l.rdb, []string{
		l.ns.Batch(id), l.ns.Batches(), l.ns.Running(), l.ns.Rows(id), l.ns.Packed(id), l.ns.Failed(id), l.ns.Waiting(id),
		l.ns.Again(id),
		l.ns.CopiesOf(id), l.ns.Copying(id), l.ns.LostImages(id),
	}, id).Err()
	if err != nil {
		return fmt.Errorf("drop expired batch %s: %w", id, err)
	}
	return nil
}

// keepIndexes lets the index of a day live until all of it has expired: records
// of a batch do so after its end, and nobody knows that of one that goes on. What
// was enqueued or canceled was indexed by a process that may not know the retention.
func (l *Ledger) keepIndexes(ctx context.Context) error {
	days, err := l.rdb.ZRange(ctx, l.ns.Indexes(), 0, -1).Result()
	if err != nil {
		return fmt.Errorf("read %s: %w", l.ns.Indexes(), err)
	}
	oldest, err := l.rdb.ZRangeWithScores(ctx, l.ns.Running(), 0, 0).Result()
	if err != nil {
		return fmt.Errorf("read %s: %w", l.ns.Running(), err)
	}
	for _, day := range days {
		n, err := strconv.ParseInt(day, 10, 64)
		if err != nil {
			return fmt.Errorf("%s: %w", l.ns.Indexes(), err)
		}
		end := time.UnixMilli((n + 1) * dayMilli)
		need := time.Until(end.Add(l.o.Retention + 24*time.Hour))
		if len(oldest) > 0 && time.UnixMilli(int64(oldest[0].Score)).Before(end) {
			need = l.o.Retention + 3*24*time.Hour
		}
		left, err := l.rdb.PTTL(ctx, l.ns.Index(n)).Result()
		switch {
		case err != nil:
		case left == -2: // go-redis' value for a key that does not exist
			err = l.rdb.ZRem(ctx, l.ns.Indexes(), day).Err()
		case left < need-time.Hour: // not at each look
			err = l.rdb.PExpire(ctx, l.ns.Index(n), need).Err()
		}
		if err != nil {
			return fmt.Errorf("keep the index of day %d: %w", n, err)
		}
	}
	return nil
}

// receiver is scheme and host of a URL, or empty.
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

// CanceledUnfed reports whether a row of the batch was canceled with it before
// it was fed. Such a snapshot has no record.
func (b Batch) CanceledUnfed(row int) bool { return b.CanceledFrom > 0 && row >= b.CanceledFrom }

// Failures returns the failed snapshots of a batch, or with "" those that have
// no batch, the newest first. They are read a few hundred at a time; retrying
// them on the way leaves none out, and one that fails anew meanwhile does not
// come a second time. An error ends the sequence.
func (l *Ledger) Failures(ctx context.Context, batch string) iter.Seq2[Snapshot, error] {
	return l.newestFirst(ctx, l.ns.Failed(batch))
}

// Held returns the snapshots of a batch, or with "" those that have no batch,
// whose outcome is unknown and that wait for a person, in the manner of
// Failures.
func (l *Ledger) Held(ctx context.Context, batch string) iter.Seq2[Snapshot, error] {
	return l.newestFirst(ctx, l.ns.Waiting(batch))
}

// suspended returns the snapshots of a batch that wait until their SdkAppId is
// no longer suspended. What is let go meanwhile may be left out.
func (l *Ledger) suspended(ctx context.Context, batch string) iter.Seq2[Snapshot, error] {
	return func(yield func(Snapshot, error) bool) {
		apps, err := l.rdb.ZRange(ctx, l.ns.Suspended(), 0, -1).Result()
		if err != nil {
			yield(Snapshot{}, fmt.Errorf("read %s: %w", l.ns.Suspended(), err))
			return
		}
		for _, name := range apps {
			app, err := strconv.ParseUint(name, 10, 64)
			if err != nil {
				yield(Snapshot{}, fmt.Errorf("%s: %w", l.ns.Suspended(), err))
				return
			}
			rooms := l.ns.SuspendedRooms(app)
			for first := int64(0); ; first += page {
				ids, err := l.rdb.LRange(ctx, rooms, first, first+page-1).Result()
				if err != nil {
					yield(Snapshot{}, fmt.Errorf("read %s: %w", rooms, err))
					return
				}
				if len(ids) == 0 {
					break
				}
				all, err := l.Snapshots(ctx, slices.DeleteFunc(ids, func(id string) bool { return batchOf(id) != batch }))
				if err != nil {
					yield(Snapshot{}, err)
					return
				}
				for _, s := range all {
					if s.State != "" && !yield(s, nil) {
						return
					}
				}
			}
		}
	}
}

// page is how many ids are read at a time where there may be a million.
const page = 500

// ranks goes through a sorted set of ids from the last rank down, a page at a
// time: neither what is added behind nor what is taken away there changes the
// ranks that are still to come. An error ends the sequence.
func (l *Ledger) ranks(ctx context.Context, key string) iter.Seq2[[]string, error] {
	return func(yield func([]string, error) bool) {
		n, err := l.rdb.ZCard(ctx, key).Result()
		if err != nil {
			yield(nil, fmt.Errorf("read %s: %w", key, err))
			return
		}
		for last := n - 1; last >= 0; last -= page {
			ids, err := l.rdb.ZRange(ctx, key, max(0, last-page+1), last).Result()
			if err != nil {
				yield(nil, fmt.Errorf("read %s: %w", key, err))
				return
			}
			slices.Reverse(ids)
			if !yield(ids, nil) {
				return
			}
		}
	}
}

// newestFirst returns the snapshots of a sorted set, in the manner of ranks.
func (l *Ledger) newestFirst(ctx context.Context, key string) iter.Seq2[Snapshot, error] {
	return func(yield func(Snapshot, error) bool) {
		for ids, err := range l.ranks(ctx, key) {
			if err != nil {
				yield(Snapshot{}, err)
				return
			}
			all, err := l.Snapshots(ctx, ids)
			if err != nil {
				yield(Snapshot{}, err)
				return
			}
			for _, s := range all {
				if s.State != "" && !yield(s, nil) { // else it has expired
					return
				}
			}
		}
	}
}

func unixMilli(s string) time.Time {
	if s == "" { // as most fields of most records: an error costs an allocation
		return time.Time{}
	}
	ms, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

func atoi(s string) int {
	if s == "" {
		return 0
	}
	n, _ := strconv.Atoi(s) // a missing counter is 0; we alone write them
	return n
}
