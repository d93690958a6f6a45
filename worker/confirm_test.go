package worker_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/enqueue"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
	"tiwsnap/tiw"
	"tiwsnap/tiw/tiwtest"
	"tiwsnap/worker"
	"tiwsnap/worker/workertest"
)

func TestCallbacks(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	t.Run("name the task of a request whose answer was lost: no task is duplicated", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, redistest.Client(t), tiwtest.Options{Faults: tiwtest.Faults{
			Cut: 0.2, InternalErrorCreated: 0.2, Silent: 0.1, CallbackDouble: 0.5, CallbackEarly: 0.3,
		}})
		w.startCallbacks()
		w.work()
		w.enqueue("a", 60)
		b := w.waitForEnd("a")
		if b.Succeeded != 60 || b.PossibleDuplicates != 0 {
			t.Errorf("batch = %+v", b)
		}
		w.wantOneTaskEach(60)
		w.wantWithinLimit()
		st := w.sim.State()
		if st.Faults["cut"] == 0 || st.Faults["internalErrorCreated"] == 0 || st.Faults["silent"] == 0 {
			t.Errorf("not all faults had an effect: %v", st.Faults)
		}
	})

	t.Run("that are lost leave a retry after the grace, a possible duplicate", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, redistest.Client(t), tiwtest.Options{Faults: tiwtest.Faults{Cut: 0.3, CallbackLost: 1}})
		w.startCallbacks()
		w.work()
		w.enqueue("a", 30)
		b := w.waitForEnd("a")
		duplicates := 0
		for _, n := range w.tasksByRoom() {
			duplicates += n - 1
		}
		if b.Succeeded != 30 || duplicates == 0 || b.PossibleDuplicates != duplicates {
			t.Errorf("%d duplicate tasks, batch = %+v", duplicates, b)
		}
	})

	t.Run("make the poll due", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, redistest.Client(t), tiwtest.Options{})
		w.startCallbacks()
		w.slow = true
		w.work()
		w.enqueue("a", 5)
		if b := w.waitForEnd("a"); b.Succeeded != 5 || b.EndedAt.Sub(b.CreatedAt) > 20*time.Second {
			t.Errorf("batch = %+v", b)
		}
	})
}

func TestResultTimeout(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	w := newWorld(t, redistest.Client(t), tiwtest.Options{TaskDuration: time.Hour})
	w.work()
	w.enqueue("a", 1)
	w.waitForBatch("a", "is accepted", func(b ledger.Batch) bool { return b.Accepted == 1 })
	w.rdb.HSet(t.Context(), keys.Default.Snapshot("a.1"), "accepted_at", time.Now().Add(-72*time.Hour).UnixMilli())
	if b := w.waitForEnd("a"); b.Failed != 1 {
		t.Errorf("batch = %+v", b)
	}
	if s, err := w.ledger.Snapshot(t.Context(), "a.1"); err != nil || s.Code != tiw.CodeResultTimeout || s.Message == "" {
		t.Errorf("record = %+v, %v", s, err)
	}
}

// backdateOddAnswer waits for an odd answer about the task of a snapshot. Then it moves the first one back by ago.
func (w world) backdateOddAnswer(id string, ago time.Duration) {
	w.Helper()
	w.eventually("odd answers about "+id, func() bool {
		s, err := w.ledger.Snapshot(w.Context(), id)
		return err == nil && s.Answer == ledger.Odd
	})
	w.rdb.HSet(w.Context(), keys.Default.Snapshot(id), "answer_at", time.Now().Add(-ago).UnixMilli())
}

func TestOddResults(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	for shape, want := range map[tiwtest.Shape]struct {
		state          ledger.State
		code           string
		images         bool
		noImage, total int // total: images that Tencent counts but does not name
		minutes        bool
	}{
		tiwtest.ShapeNullCode:         {state: ledger.Succeeded, images: true},
		tiwtest.ShapeEmptyCode:        {state: ledger.Succeeded, images: true},
		tiwtest.ShapeMissingCode:      {state: ledger.Succeeded, images: true},
		tiwtest.ShapeNoImages:         {state: ledger.Succeeded, code: tiw.CodeNoImage, noImage: 1},
		tiwtest.ShapeFewerImages:      {state: ledger.Succeeded, images: true, total: 3},
		tiwtest.ShapeFailedWithImages: {state: ledger.Failed, code: tiwtest.InternalErr, images: true},
		tiwtest.ShapeNoResult:         {state: ledger.Failed, code: tiw.CodeOddResult},
		tiwtest.ShapeStatusFailed:     {state: ledger.Failed, code: tiw.CodeOddResult, minutes: true},
		tiwtest.ShapeNulls:            {state: ledger.Failed, code: tiw.CodeOddResult, minutes: true},
	} {
		t.Run(string(shape), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, redistest.Client(t), tiwtest.Options{
				Faults: tiwtest.Faults{Shapes: map[tiwtest.Shape]float64{shape: 1}},
			})
			w.work()
			w.enqueue("a", 1)
			if want.minutes {
				w.backdateOddAnswer("a.1", 10*time.Minute)
			}
			b := w.waitForEnd("a")
			s, err := w.ledger.Snapshot(t.Context(), "a.1")
			if err != nil || s.State != want.state || s.Code != want.code || (len(s.Images) > 0) != want.images {
				t.Errorf("record = %+v, %v", s, err)
			}
			if want.code == tiw.CodeOddResult && !strings.Contains(s.Message, "Status ") {
				t.Errorf("the message does not contain the answer: %q", s.Message)
			}
			if b.NoImage != want.noImage || b.MissingImages != want.total || b.Images != len(s.Images) {
				t.Errorf("batch = %+v", b)
			}
			if (s.Total != nil) != (want.total > 0) || s.Total != nil && *s.Total != len(s.Images)+want.total {
				t.Errorf("Total = %v", s.Total)
			}
		})
	}
}

func TestRefusedPolls(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	refused := tiwtest.Faults{Code: 1, CodeName: "InvalidParameter.TaskNotFound",
		Actions: []string{tiwtest.ActionDescribe}}
	t.Run("five in a row fail the snapshot", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, redistest.Client(t), tiwtest.Options{Faults: refused})
		w.work()
		w.enqueue("a", 1)
		w.waitForEnd("a")
		if s, err := w.ledger.Snapshot(t.Context(), "a.1"); err != nil || s.State != ledger.Failed ||
			s.Code != refused.CodeName {
			t.Errorf("record = %+v, %v", s, err)
		}
		if n := w.sim.State().Codes[refused.CodeName]; n != 5 {
			t.Errorf("%d refused polls, want 5", n)
		}
	})
	t.Run("of many rooms are summarized in the log", func(t *testing.T) {
		t.Parallel()
		var log bytes.Buffer
		w := newWorld(t, redistest.Client(t), tiwtest.Options{Faults: refused})
		w.log = &log
		stop := w.work()
		began := time.Now()
		w.enqueue("a", 12)
		w.waitForEnd("a")
		stop()
		if n, most := strings.Count(log.String(), "no result yet"), 1+int(time.Since(began)/time.Minute); n == 0 || n > most {
			t.Errorf("%d log lines about 48 refusals, want 1 to %d:\n%s", n, most, log.String())
		}
	})
	t.Run("one after other answers does not fail the snapshot", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, redistest.Client(t), tiwtest.Options{TaskDuration: 8 * time.Second})
		w.slow = true // a minute between refusals
		w.work()
		w.enqueue("a", 1)
		w.waitForBatch("a", "is accepted", func(b ledger.Batch) bool { return b.Accepted == 1 })
		makeDue := func() { w.rdb.ZAdd(t.Context(), keys.Default.Confirm(), redis.Z{Score: 1, Member: "a.1"}) }
		makeDue()
		w.eventually("five polls say that the task is running", func() bool {
			makeDue()
			return w.sim.State().Actions[tiwtest.ActionDescribe].Accepted.Requests >= 5
		})
		if err := w.sim.SetFaults(refused); err != nil {
			t.Fatal(err)
		}
		w.eventually("a refusal", func() bool {
			s, err := w.ledger.Snapshot(t.Context(), "a.1")
			return err == nil && (s.Answer == ledger.Refused || s.State.Ended())
		})
		if err := w.sim.SetFaults(tiwtest.Faults{}); err != nil {
			t.Fatal(err)
		}
		makeDue()
		if b := w.waitForEnd("a"); b.Succeeded != 1 || b.Images == 0 {
			t.Errorf("batch = %+v", b)
		}
	})
}

// enqueueLost creates a snapshot of unknown outcome, and records a callback that reports task for it.
func (w world) enqueueLost(id, task string) {
	w.Helper()
	if err := w.sim.SetFaults(tiwtest.Faults{Cut: 1, CallbackLost: 1, UnknownTask: "nulls"}); err != nil {
		w.Fatal(err)
	}
	w.enqueue(id, 1)
	w.waitForBatch(id, "has an unknown outcome", func(b ledger.Batch) bool { return b.Unknown == 1 })
	if err := w.ledger.Callback(w.Context(), id+".1", 1, task, []byte("{}")); err != nil {
		w.Fatal(err)
	}
	if err := w.sim.SetFaults(tiwtest.Faults{UnknownTask: "nulls"}); err != nil {
		w.Fatal(err)
	}
}

func TestReportedTasks(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	t.Run("of another room are not claimed", func(t *testing.T) {
		w := newWorld(t, redistest.Client(t), tiwtest.Options{})
		w.startCallbacks()
		w.work()
		_, err := w.queue.Batch(t.Context(), func(yield func(tasks.Room, error) bool) {
			yield(tasks.Room{SdkAppId: app, RoomId: 77}, nil)
		}, enqueue.BatchOptions{ID: "other"})
		if err != nil {
			t.Fatal(err)
		}
		w.waitForEnd("other")
		other, err := w.ledger.Snapshot(t.Context(), "other.1")
		if err != nil {
			t.Fatal(err)
		}
		w.enqueueLost("a", other.TaskID)
		b := w.waitForEnd("a")
		s, err := w.ledger.Snapshot(t.Context(), "a.1")
		if err != nil || b.Succeeded != 1 || s.TaskID == other.TaskID || len(s.Images) == 0 ||
			!strings.Contains(s.Images[0], "/images/1/") {
			t.Errorf("record = %+v, %v; the task of the other room is %s", s, err, other.TaskID)
		}
	})
	t.Run("that do not exist do not delay the snapshot, however Tencent answers", func(t *testing.T) {
		w := newWorld(t, redistest.Client(t), tiwtest.Options{})
		w.startCallbacks()
		w.work()
		w.enqueueLost("a", "00000000-0000-4000-8000-000000000000")
		if b := w.waitForEnd("a"); b.Succeeded != 1 {
			t.Errorf("batch = %+v", b)
		}
	})
}

func TestPollsAreIndependent(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	w := newWorld(t, redistest.Client(t), tiwtest.Options{
		Faults: tiwtest.Faults{Silent: 1, Actions: []string{tiwtest.ActionDescribe}},
	})
	workertest.Run(t, worker.Options{
		Redis: w.rdb, TIW: workertest.API(t, w.sim, tiw.Options{Timeout: time.Minute}), CallTimeout: time.Minute,
		ConfirmAfter: 200 * time.Millisecond,
	})
	w.enqueue("silent", 5)
	w.eventually("five polls without an answer", func() bool { return w.sim.State().Faults["silent"] >= 5 })
	if err := w.sim.SetFaults(tiwtest.Faults{}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	w.enqueue("b", 20)
	for _, id := range []string{"b", "silent"} {
		if b := w.waitForEnd(id); b.Succeeded != b.Total {
			t.Errorf("batch = %+v", b)
		}
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("batch %s took %s: it waited for polls without an answer", id, took)
		}
	}
}

func TestResultDelay(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	const rooms, duration = 12, 7 * time.Second
	w := newWorld(t, redistest.Client(t), tiwtest.Options{TaskDuration: duration})
	w.work()
	w.enqueue("a", rooms)
	w.waitForEnd("a")
	ends := map[string]time.Time{}
	for task := range w.sim.Tasks() {
		ends[task.TaskID] = time.Unix(0, task.EndsNs)
	}
	for n := 1; n <= rooms; n++ {
		s, err := w.ledger.Snapshot(t.Context(), fmt.Sprintf("a.%d", n))
		if err != nil {
			t.Fatal(err)
		}
		// 1.3 s on an idle machine.
		if late := s.EndedAt.Sub(ends[s.TaskID]); late > 4*time.Second {
			t.Errorf("%s: the result was known %s after the end of the task, want at most 4 s", s.ID, late)
		}
	}
	// They were polled once a second.
	if n := w.sim.State().Actions[tiwtest.ActionDescribe].Received.Requests; n > rooms*10 {
		t.Errorf("%d polls for %d tasks of %s, want at most %d", n, rooms, duration, rooms*10)
	}
}
