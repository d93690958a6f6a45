package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"tiwsnap/ledger"
	"tiwsnap/results"
	"tiwsnap/tiw/tiwtest"
)

// slack is what an intent may be older than the request that followed it: the
// life of a permit and some. The referee sees requests, promises are about
// intents.
const slack = 2 * time.Second

// evidence is the three truths, and what else is known.
type evidence struct {
	rooms   []uint64          // enqueued and acknowledged
	must    map[uint64]string // those of them that must fail, with the error code
	results []results.Result  // the ledger's
	batch   ledger.Batch
	tasks   []tiwtest.Task // the referee's
	calls   []tiwtest.Request
	taken   map[string]time.Time // callback URL to when a worker took the first callback
	grace   time.Duration        // 0: there are no callbacks
	strikes []strike
	lost    *span // when writes to Redis were lost; nil: never
	intents bool  // none of them was an intent: those are on a replica before their request is sent
}

// lostIntents is when intents were lost.
func (e evidence) lostIntents() *span {
	if e.intents {
		return nil
	}
	return e.lost
}

// span is a while.
type span struct{ from, to time.Time }

// has reports whether an instant (Unix ns) is in the span. Nothing is in a nil one.
func (s *span) has(ns int64) bool {
	return s != nil && ns >= s.from.Add(-slack).UnixNano() && ns <= s.to.UnixNano()
}

// finding is what the audit found. Everything below Promises is 0 or a promise
// is broken.
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
	NeverArrived       int `json:"never_arrived"`        // possible duplicates whose request the referee did not see

	MustFail int        `json:"must_fail"` // failures that are right: of the bad room and the bad application
	Pressed  []pressure `json:"pressed"`   // what was sent while nothing could succeed

	Explained int `json:"explained"` // extra tasks that a loss of Redis' data explains, and that nobody could count
	Learned   int `json:"learned"`   // of tasks whose record was lost, those that a worker was told of afterwards

	Open        int `json:"open"`         // batches that have not ended
	Spoiled     int `json:"spoiled"`      // failed, with nothing wrong with the room or its task
	KeptImages  int `json:"kept_images"`  // copies that are byte for byte what the simulator gives
	LostImages  int `json:"lost_images"`  // without a copy, where there is a store
	WrongImages int `json:"wrong_images"` // copies that are anything else

	Lost        int `json:"lost"`        // acknowledged and in no final state
	WrongFinal  int `json:"wrong_final"` // the final state is not what the referee knows
	Unexplained int `json:"unexplained"` // extra tasks beyond the room's possible duplicates, and no loss explains them
	Unlearned   int `json:"unlearned"`   // of those that were learned, the ones that the ledger does not have
	Uncounted   int `json:"uncounted"`   // requests of unknown outcome beyond them
	Unannounced int `json:"unannounced"` // requests beyond the attempts in the ledger
	Early       int `json:"early"`       // another task before the grace of the one before ran out
	Despite     int `json:"despite"`     // another task though the callback of the one before had been taken
	Counters    int `json:"counters"`    // of the batch that differ from its snapshots

	Examples []string `json:"examples,omitempty"` // in words, the first few
}

const maxExamples = 20

func (f *finding) example(format string, args ...any) {
	if len(f.Examples) < maxExamples {
		f.Examples = append(f.Examples, fmt.Sprintf(format, args...))
	}
}

// audit compares the three truths.
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
			f.wrong(s, "the referee has no task %s for it", s.TaskID)
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
			f.example("%s: failed, with nothing wrong with it: %s %s", s.ID, s.Code, s.Message)
		}
	case ledger.Canceled:
		f.Canceled++
	default:
		f.Lost++
		f.example("%s: %s after %d attempts", s.ID, s.State, s.Attempts)
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

// duplicates sets what the ledger counts against what the referee saw. Of what a
// loss took away the ledger can count nothing.
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
			f.wrong(s, "its extra task %s is not known to the referee", id)
		}
	}
	tasksLost, unclearLost, lost := 0, 0, 0
	for _, t := range tasks {
		if e.lostIntents().has(t.CreatedNs) {
			tasksLost++
		}
	}
	unclear := 0 // requests that have made a task, or left that open
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
		f.example("%s: %d tasks, %d possible duplicates in the ledger", s.ID, len(tasks), s.PossibleDuplicates)
	}
	f.InternalErrors += seen - extra
	f.NeverArrived += max(0, s.PossibleDuplicates-seen)
	if n := seen - s.PossibleDuplicates - unclearLost; n > 0 {
		f.Uncounted += n
		f.example("%s: %d requests made a task or may have, %d possible duplicates in the ledger",
			s.ID, unclear, s.PossibleDuplicates)
	}
	if n := len(calls) - s.Attempts - lost; n > 0 {
		f.Unannounced += n
		f.example("%s: %d requests, %d attempts in the ledger", s.ID, len(calls), s.Attempts)
	}
}

// learned checks that a task whose record was lost is in the ledger all the same
// if its callback was taken once the room had a record again.
func (f *finding) learned(e evidence, s ledger.Snapshot, tasks []tiwtest.Task) {
	for _, t := range tasks {
		taken, ok := e.taken[t.CallbackURL]
		if !ok || !e.lost.has(t.CreatedNs) || taken.Before(e.lost.to.Add(slack)) || taken.Before(s.CreatedAt.Add(slack)) {
			continue
		}
		f.Learned++
		if s.TaskID != t.TaskID && !slices.Contains(slices.Collect(maps.Values(s.ExtraTasks)), t.TaskID) {
			f.Unlearned++
			f.example("%s: the callback of task %s was taken, and the ledger does not have it", s.ID, t.TaskID)
		}
	}
}

// second checks each task after the first of a room: there may be one only if
// the outcome of the one before was unknown and its grace ran out.
func (f *finding) second(e evidence, s ledger.Snapshot, tasks []tiwtest.Task) {
	if e.grace == 0 {
		return
	}
	slices.SortFunc(tasks, func(a, b tiwtest.Task) int { return cmp.Compare(a.CreatedNs, b.CreatedNs) })
	for i := 1; i < len(tasks); i++ {
		one, two := tasks[i-1], tasks[i]
		if e.lostIntents().has(one.CreatedNs) {
			continue // nobody could know of it
		}
		at := time.Unix(0, two.CreatedNs)
		if after := at.Sub(time.Unix(0, one.CreatedNs)); after < e.grace-slack {
			f.Early++
			f.example("%s: task %s was made %s after %s, within the grace of %s", s.ID, two.TaskID, after, one.TaskID, e.grace)
		}
		if taken, ok := e.taken[one.CallbackURL]; ok && taken.Add(slack).Before(at) && !e.lost.has(taken.UnixNano()) {
			f.Despite++
			f.example("%s: task %s was made %s after the callback of %s had been taken",
				s.ID, two.TaskID, at.Sub(taken), one.TaskID)
		}
	}
}

// pressure is what was sent during a fault in which nothing can succeed.
type pressure struct {
	Fault    string `json:"fault"`
	Rooms    int    `json:"rooms"`    // that had no task when it began
	Requests int    `json:"requests"` // that arrived while it lasted
	Most     int    `json:"most"`     // that may
}

// pressed counts what was sent into storms and refusals.
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
