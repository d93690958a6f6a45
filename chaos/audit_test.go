package main

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"tiwsnap/ledger"
	"tiwsnap/results"
	"tiwsnap/tasks"
	"tiwsnap/tiw/tiwtest"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// at returns the time that many seconds after noon, in nanoseconds.
func at(seconds float64) int64 { return noon.Add(time.Duration(seconds * 1e9)).UnixNano() }

func taskAt(task string, seconds float64) tiwtest.Task {
	return tiwtest.Task{
		TaskID: task, RoomId: 1, CreatedNs: at(seconds), State: tiwtest.OK, Images: 2, CallbackURL: "cb/" + task,
	}
}

func requestAt(task, outcome string, seconds float64) tiwtest.Request {
	return tiwtest.Request{AtNs: at(seconds), RoomId: 1, Outcome: outcome, TaskID: task}
}

// story returns the evidence of one room. Its first request created the task lost, but the connection was cut and the
// callback was lost too. After the grace period the second request got InternalError, and the third one succeeded. All
// of this is correct behavior.
func story() evidence {
	return evidence{
		rooms: []uint64{1},
		results: []results.Result{{Snapshot: ledger.Snapshot{
			ID: "b.1", Room: tasks.Room{RoomId: 1}, State: ledger.Succeeded, Attempts: 3, TaskID: "own",
			Images: []string{"http://h/images/1/own/1.png", "http://h/images/1/own/2.png"}, PossibleDuplicates: 2,
		}}},
		batch: ledger.Batch{Total: 1, Succeeded: 1, Images: 2, PossibleDuplicates: 2, EndedAt: noon.Add(72 * time.Second)},
		tasks: []tiwtest.Task{taskAt("lost", 0), taskAt("own", 70)},
		calls: []tiwtest.Request{
			requestAt("lost", "cut", 0), requestAt("", "internalError", 35), requestAt("own", tiwtest.OK, 70),
		},
		taken: map[string]time.Time{"cb/own": noon.Add(71 * time.Second)},
		grace: 30 * time.Second,
	}
}

// storyFinding is the finding of the audit of story.
var storyFinding = finding{
	Rooms: 1, Succeeded: 1, Images: 2, Tasks: 2, RoomsTwice: 1, ExtraTasks: 1, PossibleDuplicates: 2, InternalErrors: 1,
}

// lose simulates a data loss of Redis that removes the record of a task. The ledger then has n fewer attempts and n
// fewer possible duplicates.
func (e *evidence) lose(task string, n int) {
	for _, t := range e.tasks {
		if t.TaskID == task {
			at := time.Unix(0, t.CreatedNs)
			e.lost = &span{at, at.Add(time.Second)}
		}
	}
	e.results[0].PossibleDuplicates -= n
	e.results[0].Attempts -= n
	e.batch.PossibleDuplicates -= n
}

// fail marks the room as failed.
func (e *evidence) fail(code string) {
	e.results[0].State, e.results[0].Code = ledger.Failed, code
	e.batch.Succeeded, e.batch.Images, e.batch.Failed = 0, 0, 1
}

func TestAudit(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*evidence) // changes story
		want   func(*finding)  // changes storyFinding
		broken int
	}{
		{"a room with two tasks, counted as such, is correct", func(*evidence) {}, func(*finding) {}, 0},
		{"a room that the ledger does not have is lost", func(e *evidence) {
			e.rooms = append(e.rooms, 2)
			e.batch.Total++
		}, func(f *finding) { f.Rooms, f.Lost = 2, 1 }, 1},
		{"a room in no final state is lost", func(e *evidence) {
			e.results[0].State = ledger.Unknown
			e.batch.Succeeded, e.batch.Images = 0, 0
		}, func(f *finding) { f.Succeeded, f.Images, f.Lost = 0, 0, 1 }, 1},
		{"a success with an unknown task is wrong", func(e *evidence) { e.results[0].TaskID = "made up" },
			func(f *finding) { f.WrongFinal = 1 }, 1},
		{"a success whose task failed is wrong", func(e *evidence) { e.tasks[1].State = tiwtest.InternalErr },
			func(f *finding) { f.WrongFinal = 1 }, 1},
		{"a success with the images of another task is wrong", func(e *evidence) {
			e.results[0].Images[1] = "http://h/images/1/lost/2.png"
		},
			func(f *finding) { f.WrongFinal = 1 }, 1},
		{"a success that lacks an image is wrong", func(e *evidence) { e.tasks[1].Images = 3 },
			func(f *finding) { f.WrongFinal = 1 }, 1},
		{"a failure with a successful task is wrong", func(e *evidence) {
			e.fail("")
		}, func(f *finding) { f.Succeeded, f.Images, f.Failed, f.Spoiled, f.WrongFinal = 0, 0, 1, 1, 1 }, 2},
		{"a failure with failed tasks is correct", func(e *evidence) {
			e.fail("")
			e.tasks[0].State, e.tasks[1].State = tiwtest.InternalErr, tiwtest.InternalErr
		}, func(f *finding) { f.Succeeded, f.Images, f.Failed = 0, 0, 1 }, 0},
		{"a failure without a task is wrong unless the room must fail", func(e *evidence) {
			e.fail("InternalError")
			e.tasks = nil
		}, func(f *finding) {
			*f = finding{Rooms: 1, Failed: 1, Spoiled: 1, PossibleDuplicates: 2, InternalErrors: 2}
		}, 1},
		{"a room that must fail has failed", func(e *evidence) {
			e.must = map[uint64]string{1: "UnauthorizedOperation"}
			e.fail("UnauthorizedOperation")
			e.tasks = nil
		}, func(f *finding) {
			*f = finding{Rooms: 1, Failed: 1, MustFail: 1, PossibleDuplicates: 2, InternalErrors: 2}
		}, 0},
		{"a room that must fail with one code has another code", func(e *evidence) {
			e.must = map[uint64]string{1: "UnauthorizedOperation"}
			e.fail("UnauthorizedOperation.SdkAppId")
			e.tasks = nil
		}, func(f *finding) {
			*f = finding{Rooms: 1, Failed: 1, MustFail: 1, WrongFinal: 1, PossibleDuplicates: 2, InternalErrors: 2}
		}, 1},
		{"a room that must fail has succeeded", func(e *evidence) {
			e.must = map[uint64]string{1: "UnauthorizedOperation"}
		}, func(f *finding) { f.WrongFinal = 1 }, 1},
		{"a batch that has not ended is open", func(e *evidence) { e.batch.EndedAt = time.Time{} },
			func(f *finding) { f.Open = 1 }, 1},
		{"an extra task in the ledger is reported", func(e *evidence) {
			e.results[0].ExtraTasks = map[int]string{1: "lost"}
		},
			func(f *finding) { f.ExtraKnown = 1 }, 0},
		{"an unknown extra task is wrong", func(e *evidence) {
			e.results[0].ExtraTasks = map[int]string{1: "made up"}
		},
			func(f *finding) { f.WrongFinal = 1 }, 1},
		{"an extra task that is not counted is unexplained", func(e *evidence) {
			e.results[0].PossibleDuplicates, e.batch.PossibleDuplicates = 0, 0
		}, func(f *finding) { f.PossibleDuplicates, f.Unexplained, f.Uncounted = 0, 1, 2 }, 2},
		{"an InternalError that is not counted is uncounted", func(e *evidence) {
			e.results[0].PossibleDuplicates, e.batch.PossibleDuplicates = 1, 1
		}, func(f *finding) { f.PossibleDuplicates, f.Uncounted = 1, 1 }, 1},
		{"a counted request that did not arrive is reported", func(e *evidence) {
			e.results[0].PossibleDuplicates, e.results[0].Attempts, e.batch.PossibleDuplicates = 3, 4, 3
		}, func(f *finding) { f.PossibleDuplicates, f.NeverArrived = 3, 1 }, 0},
		{"a request without an attempt is unannounced", func(e *evidence) { e.results[0].Attempts = 2 },
			func(f *finding) { f.Unannounced = 1 }, 1},
		{"a second task within the grace is early", func(e *evidence) { e.tasks[1].CreatedNs = at(27) },
			func(f *finding) { f.Early = 1 }, 1},
		{"a second task after the callback of the first is one despite it", func(e *evidence) {
			e.taken["cb/lost"] = noon.Add(67 * time.Second)
		}, func(f *finding) { f.Despite = 1 }, 1},
		{"a callback during the second request changes nothing", func(e *evidence) {
			e.taken["cb/lost"] = noon.Add(69 * time.Second)
		}, func(*finding) {}, 0},
		{"without callbacks there is no grace", func(e *evidence) { e.grace, e.tasks[1].CreatedNs = 0, at(1) },
			func(*finding) {}, 0},
		{"an extra task is explained if Redis lost the record of the first one", func(e *evidence) {
			e.lose("lost", 1)
		}, func(f *finding) { f.PossibleDuplicates, f.Explained = 1, 1 }, 0},
		{"a loss explains nothing if intents are on a replica", func(e *evidence) {
			e.lose("lost", 1)
			e.intents = true
		}, func(f *finding) { f.PossibleDuplicates, f.Uncounted, f.Unannounced = 1, 1, 1 }, 2},
		{"a callback that Redis lost does not forbid a second task", func(e *evidence) {
			e.lost, e.intents = &span{noon.Add(60 * time.Second), noon.Add(66 * time.Second)}, true
			e.taken["cb/lost"] = noon.Add(65 * time.Second)
		}, func(*finding) {}, 0},
		{"a loss explains only what it removed", func(e *evidence) {
			e.lose("lost", 1)
			e.tasks, e.calls = append(e.tasks, taskAt("third", 110)), append(e.calls, requestAt("third", tiwtest.OK, 110))
			e.results[0].PossibleDuplicates, e.batch.PossibleDuplicates = 0, 0
		}, func(f *finding) {
			f.Tasks, f.ExtraTasks, f.PossibleDuplicates, f.Explained, f.Unexplained = 3, 2, 0, 1, 1
			f.Uncounted, f.Unannounced, f.Despite = 2, 1, 1
		}, 4},
		{"a lost task with a later callback must be in the ledger", func(e *evidence) {
			e.lose("lost", 1)
			e.taken["cb/lost"] = noon.Add(75 * time.Second)
		}, func(f *finding) { f.PossibleDuplicates, f.Explained, f.Learned, f.Unlearned = 1, 1, 1, 1 }, 1},
		{"a lost task with a later callback may be an extra task", func(e *evidence) {
			e.lose("lost", 1)
			e.taken["cb/lost"] = noon.Add(75 * time.Second)
			e.results[0].ExtraTasks = map[int]string{1: "lost"}
		}, func(f *finding) { f.PossibleDuplicates, f.Explained, f.ExtraKnown, f.Learned = 1, 1, 1, 1 }, 0},
		{"a wrong counter of the batch is reported", func(e *evidence) { e.batch.Images = 3 },
			func(f *finding) { f.Counters = 1 }, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			e, want := story(), storyFinding
			test.change(&e)
			test.want(&want)
			got := audit(e)
			if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(finding{}, "Examples")); diff != "" {
				t.Errorf("finding (-want +got):\n%s\n%s", diff, got.Examples)
			}
			r := report{finding: got, Grace: "30s", Struck: map[string]int64{"callbackLost": 1}}
			r.judge()
			if len(r.Broken) != test.broken {
				t.Errorf("broken promises are %q, want %d", r.Broken, test.broken)
			}
		})
	}
}

// Five rooms had no task when the storm began. At most one request may be sent for them while the storm lasts.
func TestStorm(t *testing.T) {
	storm := strike{Fault: faultStorm, At: noon.Add(10 * time.Second), Since: noon.Add(20 * time.Second)}
	e := evidence{
		rooms:   []uint64{1, 2, 3, 4, 5, 6},
		strikes: []strike{{Fault: faultOutage, At: noon, Since: noon.Add(time.Minute)}, storm},
		tasks:   []tiwtest.Task{taskAt("before", 9), {RoomId: 2, CreatedNs: at(11)}},
		calls: []tiwtest.Request{
			requestAt("before", tiwtest.OK, 9), requestAt("", "internalError", 10), requestAt("after", tiwtest.OK, 20),
		},
	}
	for _, test := range []struct{ extra, broken int }{{0, 0}, {1, 1}} {
		for range test.extra {
			e.calls = append(e.calls, requestAt("", "internalError", 19))
		}
		var r report
		r.pressed(e)
		r.judge()
		want := []pressure{{Fault: faultStorm, Rooms: 5, Requests: 1 + test.extra, Most: 1}}
		if diff := cmp.Diff(want, r.Pressed); diff != "" || len(r.Broken) != test.broken {
			t.Errorf("%d extra requests: broken promises are %q, want %d; pressure (-want +got):\n%s",
				test.extra, r.Broken, test.broken, diff)
		}
	}
}

func TestJudge(t *testing.T) {
	for _, test := range []struct {
		name string
		report
		broken int
	}{
		{"a second with too many requests is a broken promise", report{Over: 1}, 1},
		{"an image without a copy is one", report{finding: finding{LostImages: 1}}, 1},
		{"a copy that differs from the image is one", report{finding: finding{WrongImages: 1}}, 1},
		{"a worker that ended by itself is one", report{Deaths: []string{"worker 1"}}, 1},
		{"an extra task is one if all callbacks arrived", report{Grace: "30s", finding: finding{ExtraTasks: 1}}, 1},
		{"an extra task is none if a callback was refused", report{
			Grace: "30s", finding: finding{ExtraTasks: 1}, Callbacks: tiwtest.CallbackState{Refused: 1},
		}, 0},
		{"an extra task is none without callbacks", report{finding: finding{ExtraTasks: 1}}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.judge()
			if len(test.Broken) != test.broken {
				t.Errorf("broken promises are %q, want %d", test.Broken, test.broken)
			}
		})
	}
}

// The report uses the singular for one thing.
func TestReportUsesSingular(t *testing.T) {
	r := report{
		finding: finding{
			Rooms: 1, Open: 1, Spoiled: 1, ExtraTasks: 1, InternalErrors: 1, Lost: 1, WrongFinal: 1, Counters: 1,
			Pressed: []pressure{{Fault: faultStorm, Rooms: 1, Requests: 2, Most: 1}},
		},
		Rate: 20, Over: 1,
		Strikes:  []strike{{Fault: faultKill}, {Fault: faultImages}},
		Recovery: map[string]recovery{faultKill: {Count: 1}},
		Bad:      map[string]recovery{"InvalidParameter": {Count: 1}},
		Stalls:   []tiwtest.Stall{{}},
		Deaths:   []string{"worker 1"},
	}
	r.judge()
	var text strings.Builder
	if err := r.print(&text); err != nil {
		t.Fatal(err)
	}
	lines := text.String() + strings.Join(r.Broken, "\n")
	if !strings.Contains(lines, "1 time; to the next request") {
		t.Errorf("the report does not contain the kill:\n%s", lines)
	}
	if wrong := regexp.MustCompile(`.*\b1 [A-Za-z ]*(times|rooms|tasks|InternalErrors|requests)\b.*`).
		FindAllString(lines, -1); wrong != nil {
		t.Errorf("the report has a plural for one thing:\n%s", strings.Join(wrong, "\n"))
	}
}

func TestRecoveries(t *testing.T) {
	var calls []tiwtest.Request
	for _, s := range []float64{1, 2, 5} {
		calls = append(calls, requestAt("", fmt.Sprint(s), s))
	}
	since := func(fault string, seconds float64) strike {
		return strike{Fault: fault, Since: time.Unix(0, at(seconds))}
	}
	got := recoveries([]strike{since(faultKill, 0.5), since(faultKill, 2.5),
		since(faultRedis, 4), since(faultRedis, 6)}, calls)
	want := map[string]recovery{faultKill: {2, 2.5, 2.5}, faultRedis: {1, 1, 1}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("recoveries (-want +got):\n%s", diff)
	}
}

func TestTightest(t *testing.T) {
	var calls []tiwtest.Request
	for _, s := range []float64{1, 1.5, 2.25, 2.5, 3.5} {
		calls = append(calls, requestAt("", tiwtest.OK, s))
	}
	if got := tightest(calls, 2, noon); got != (tight{1, 1.5}) {
		t.Errorf("tightest() = %+v, want 1 s at 1.5", got)
	}
	if got := tightest(calls, 5, noon); got != (tight{}) {
		t.Errorf("tightest() of too few requests = %+v, want none", got)
	}
}
