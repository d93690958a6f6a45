package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"tiwsnap/internal/plural"
	"tiwsnap/ledger"
	"tiwsnap/results"
	"tiwsnap/tiw/tiwtest"
)

// slack is how much older an intent may be than its request: the lifetime of a permit and some more. The simulator sees
// requests, but promises are about intents.
const slack = 2 * time.Second

// evidence are the three records that the audit compares, and what the run knows besides.
type evidence struct {
	rooms   []uint64          // enqueued and acknowledged
	must    map[uint64]string // error code by RoomId of the rooms that must fail
	results []results.Result  // of the ledger
	batch   ledger.Batch
	tasks   []tiwtest.Task // of the simulator
	calls   []tiwtest.Request
	taken   map[string]time.Time // by callback URL: when a worker received the first callback
	grace   time.Duration        // 0: there are no callbacks
	strikes []strike
	lost    *span // when writes to Redis were lost; nil: never
	intents bool  // no intent was lost, because each is on a replica before its request is sent
}

// lostIntents returns when intents were lost; nil: never.
func (e evidence) lostIntents() *span {
	if e.intents {
		return nil
	}
	return e.lost
}

// span is a period.
type span struct{ from, to time.Time }

// has reports whether an instant (Unix ns) is in the span. Nothing is in a nil one.
func (s *span) has(ns int64) bool {
	return s != nil && ns >= s.from.Add(-slack).UnixNano() && ns <= s.to.UnixNano()
}

// finding is the result of an audit. From Open on, every number except KeptImages is 0, or a promise is broken.
type finding struct {
	Rooms     int `json:"rooms"`
	Succeeded int `json:"succeeded"`
	Failed    int `json:"failed"`
	Canceled  int `json:"canceled"`
	Images    int `json:"images"`

	Tasks              int `json:"tasks"`                // made in total
	RoomsTwice         int `json:"rooms_twice"`          // with more than one task
	ExtraTasks         int `json:"extra_tasks"`          // beyond the first of a room
	ExtraKnown         int `json:"extra_known"`          // of these, by id in the ledger
	PossibleDuplicates int `json:"possible_duplicates"`  // as the ledger counts
	InternalErrors     int `json:"internal_errors_only"` // possible duplicates that were an InternalError without a task
	NeverArrived       int `json:"never_arrived"`        // possible duplicates whose request did not arrive

	MustFail int        `json:"must_fail"` // failures that are right: of the bad room and the bad application
	Pressed  []pressure `json:"pressed"`   // requests while none could succeed

	Explained int `json:"explained"` // extra tasks that a loss of Redis' data explains
	Learned   int `json:"learned"`   // tasks whose record was lost and whose callback a worker received later

	Open        int `json:"open"`         // batches that have not ended
	Spoiled     int `json:"spoiled"`      // rooms that failed although they and their tasks are in order
	KeptImages  int `json:"kept_images"`  // copies that equal the simulator's image byte for byte
	LostImages  int `json:"lost_images"`  // images without a copy, if there is a store
	WrongImages int `json:"wrong_images"` // copies that differ

	Lost        int `json:"lost"`        // rooms that are acknowledged and in no final state
	WrongFinal  int `json:"wrong_final"` // final states that contradict the simulator
	Unexplained int `json:"unexplained"` // extra tasks beyond the room's possible duplicates that no loss explains
	Unlearned   int `json:"unlearned"`   // learned tasks that are not in the ledger
	Uncounted   int `json:"uncounted"`   // requests of unknown outcome beyond the possible duplicates
	Unannounced int `json:"unannounced"` // requests beyond the attempts in the ledger
	Early       int `json:"early"`       // second tasks before the grace of the first one ran out
	Despite     int `json:"despite"`     // second tasks after the callback of the first one
	Counters    int `json:"counters"`    // counters of the batch that differ from its snapshots

	Examples []string `json:"examples,omitempty"` // the first few, in words
}

const maxExamples = 20

func (f *finding) example(format string, args ...any) {
	if len(f.Examples) < maxExamples {
		f.Examples = append(f.Examples, fmt.Sprintf(format, args...))
	}
}

// audit compares the three records.
func audit(e evidence) finding {
	f := finding{Rooms: len(e.rooms), Tasks: len(e.tasks)}
	records := make(map[uint64]ledger.Snapshot)
	for _, s := range e.results {
		records[s.Room.RoomId] = s.Snapshot
	}
	tasks := make(map[uint64][]tiwtest.Task)
	for _, t := range e.tasks {
		tasks[t.RoomId] = append(tasks[t.RoomId], t)
	}
	calls := make(map[uint64][]tiwtest.Request)
	for _, c := range e.calls {
		calls[c.RoomId] = append(calls[c.RoomId], c)
	}
	for _, room := range e.rooms {
		s, ok := records[room]
		if !ok {
			f.Lost++
			f.example("room %d: the ledger does not have it", room)
			continue
		}
		f.end(s, tasks[room], e.must[room])
		f.duplicates(e, s, tasks[room], calls[room])
		f.second(e, s, tasks[room])
		f.learned(e, s, tasks[room])
	}
	f.counters(e.batch)
	if !e.batch.Ended() {
		f.Open++
	}
	f.pressed(e)
	return f
}

// end checks the final state of a room. must is the code that it must fail
// with, or empty.
func (f *finding) end(s ledger.Snapshot, tasks []tiwtest.Task, must string) {
	if must != "" && s.State.Ended() && (s.State != ledger.Failed || s.Code != must) {
		f.wrong(s, "it must fail with %s: %s %s", must, s.Code, s.Message)
	}
	switch s.State {
	case ledger.Succeeded:
		f.Succeeded++
		f.Images += len(s.Images)
		i := slices.IndexFunc(tasks, func(t tiwtest.Task) bool { return t.TaskID == s.TaskID })
		switch {
		case i < 0:
			f.wrong(s, "the simulator has no task %s for it", s.TaskID)
		case tasks[i].State != tiwtest.OK:
			f.wrong(s, "its task %s is %s", s.TaskID, tasks[i].State)
		case !imagesOf(s, tasks[i].Images):
			f.wrong(s, "its images are not the %d of task %s: %s", tasks[i].Images, s.TaskID, s.Images)
		}
		return
	case ledger.Failed:
		f.Failed++
		switch {
		case must != "":
			f.MustFail++
		case !slices.ContainsFunc(tasks, func(t tiwtest.Task) bool { return t.State == tiwtest.InternalErr }):
			f.Spoiled++
			f.example("%s: failed although it is in order: %s %s", s.ID, s.Code, s.Message)
		}
	case ledger.Canceled:
		f.Canceled++
	default:
		f.Lost++
		f.example("%s: %s after %s", s.ID, s.State, plural.Of(s.Attempts, "attempt"))
		return
	}
	for _, t := range tasks {
		if t.State == tiwtest.OK {
			f.wrong(s, "task %s succeeded; the ledger says: %s %s", t.TaskID, s.Code, s.Message)
			return
		}
	}
}

func (f *finding) wrong(s ledger.Snapshot, format string, args ...any) {
	f.WrongFinal++
	f.example("%s: %s, but "+format, append([]any{s.ID, s.State}, args...)...)
}

// imagesOf reports whether the images are the n of the snapshot's task.
func imagesOf(s ledger.Snapshot, n int) bool {
	if len(s.Images) != n {
		return false
	}
	for i, url := range s.Images {
		if !strings.HasSuffix(url, fmt.Sprintf("/images/%d/%s/%d.png", s.Room.RoomId, s.TaskID, i+1)) {
			return false
		}
	}
	return true
}

// duplicates compares the counts of the ledger with the simulator. The ledger cannot count what a loss took away.
func (f *finding) duplicates(e evidence, s ledger.Snapshot, tasks []tiwtest.Task, calls []tiwtest.Request) {
	extra := max(0, len(tasks)-1)
	if extra > 0 {
		f.RoomsTwice++
	}
	f.ExtraTasks += extra
	f.PossibleDuplicates += s.PossibleDuplicates
	for _, id := range s.ExtraTasks {
		if slices.ContainsFunc(tasks, func(t tiwtest.Task) bool { return t.TaskID == id }) {
			f.ExtraKnown++
		} else {
			f.wrong(s, "the simulator has no extra task %s", id)
		}
	}
	tasksLost, unclearLost, lost := 0, 0, 0
	for _, t := range tasks {
		if e.lostIntents().has(t.CreatedNs) {
			tasksLost++
		}
	}
	unclear := 0 // requests that created a task or may have
	for _, c := range calls {
		may := c.TaskID != "" || c.Outcome == "internalError"
		if may {
			unclear++
		}
		if e.lostIntents().has(c.AtNs) {
			lost++
			if may {
				unclearLost++
			}
		}
	}

	seen := max(0, unclear-1)
	explained := min(max(0, seen-s.PossibleDuplicates), tasksLost, extra)
	f.Explained += explained
	if n := extra - s.PossibleDuplicates - explained; n > 0 {
		f.Unexplained += n
		f.example("%s: %s, %s in the ledger", s.ID, plural.Of(len(tasks), "task"),
			plural.Of(s.PossibleDuplicates, "possible duplicate"))
	}
	f.InternalErrors += seen - extra
	f.NeverArrived += max(0, s.PossibleDuplicates-seen)
	if n := seen - s.PossibleDuplicates - unclearLost; n > 0 {
		f.Uncounted += n
		f.example("%s: %s created a task or may have, %s in the ledger",
			s.ID, plural.Of(unclear, "request"), plural.Of(s.PossibleDuplicates, "possible duplicate"))
	}
	if n := len(calls) - s.Attempts - lost; n > 0 {
		f.Unannounced += n
		f.example("%s: %s, %s in the ledger", s.ID, plural.Of(len(calls), "request"), plural.Of(s.Attempts, "attempt"))
	}
}

// learned checks that a task whose record was lost is in the ledger if a worker received its callback after the room
// had a record again.
func (f *finding) learned(e evidence, s ledger.Snapshot, tasks []tiwtest.Task) {
	for _, t := range tasks {
		taken, ok := e.taken[t.CallbackURL]
		if !ok || !e.lost.has(t.CreatedNs) || taken.Before(e.lost.to.Add(slack)) || taken.Before(s.CreatedAt.Add(slack)) {
			continue
		}
		f.Learned++
		if s.TaskID != t.TaskID && !slices.Contains(slices.Collect(maps.Values(s.ExtraTasks)), t.TaskID) {
			f.Unlearned++
			f.example("%s: the callback of task %s was received, but the task is not in the ledger", s.ID, t.TaskID)
		}
	}
}

// second checks each task after the first of a room. It is allowed only if the outcome of the one before was unknown
// and its grace ran out.
func (f *finding) second(e evidence, s ledger.Snapshot, tasks []tiwtest.Task) {
	if e.grace == 0 {
		return
	}
	slices.SortFunc(tasks, func(a, b tiwtest.Task) int { return cmp.Compare(a.CreatedNs, b.CreatedNs) })
	for i := 1; i < len(tasks); i++ {
		one, two := tasks[i-1], tasks[i]
		if e.lostIntents().has(one.CreatedNs) {
			continue // the record of the first one was lost
		}
		at := time.Unix(0, two.CreatedNs)
		if after := at.Sub(time.Unix(0, one.CreatedNs)); after < e.grace-slack {
			f.Early++
			f.example("%s: task %s was created %s after %s, within the grace of %s",
				s.ID, two.TaskID, after, one.TaskID, e.grace)
		}
		if taken, ok := e.taken[one.CallbackURL]; ok && taken.Add(slack).Before(at) && !e.lost.has(taken.UnixNano()) {
			f.Despite++
			f.example("%s: task %s was created %s after the callback of %s was received",
				s.ID, two.TaskID, at.Sub(taken), one.TaskID)
		}
	}
}

// pressure counts the requests during a fault in which none can succeed.
type pressure struct {
	Fault    string `json:"fault"`
	Rooms    int    `json:"rooms"`    // rooms without a task when it began
	Requests int    `json:"requests"` // requests that arrived during the fault
	Most     int    `json:"most"`     // limit of these
}

// pressed counts the requests during faults in which none can succeed.
func (f *finding) pressed(e evidence) {
	for _, s := range e.strikes {
		o, ok := onsetOf(s.Fault)
		if !ok || o.most == nil {
			continue
		}
		made := make(map[uint64]bool)
		for _, t := range e.tasks {
			if t.CreatedNs < s.At.UnixNano() {
				made[t.RoomId] = true
			}
		}
		p := pressure{Fault: s.Fault, Rooms: len(e.rooms) - len(made)}
		p.Most = o.most(p.Rooms, s.Since.Sub(s.At))
		for _, c := range e.calls {
			if c.AtNs >= s.At.UnixNano() && c.AtNs < s.Since.UnixNano() {
				p.Requests++
			}
		}
		f.Pressed = append(f.Pressed, p)
	}
}

func (f *finding) counters(b ledger.Batch) {
	for _, c := range []struct {
		name        string
		have, count int
	}{
		{"total", b.Total, f.Rooms},
		{"succeeded", b.Succeeded, f.Succeeded},
		{"failed", b.Failed, f.Failed},
		{"canceled", b.Canceled, f.Canceled},
		{"images", b.Images, f.Images},
		{"possible_duplicates", b.PossibleDuplicates, f.PossibleDuplicates},
	} {
		if c.have != c.count {
			f.Counters++
			f.example("the batch counts %d %s, its snapshots are %d", c.have, c.name, c.count)
		}
	}
}
