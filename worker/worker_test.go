package worker_test

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common"
	"go.uber.org/goleak"

	"tiwsnap/backlog"
	"tiwsnap/enqueue"
	"tiwsnap/keys"
	"tiwsnap/ledger"
	"tiwsnap/redistest"
	"tiwsnap/tasks"
	"tiwsnap/tiw"
	"tiwsnap/tiw/tiwtest"
	"tiwsnap/web"
	"tiwsnap/worker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const app = 1400123480

// world is a Redis, a simulator and what producers and people use.
type world struct {
	*testing.T
	rdb    *redis.Client
	sim    *tiwtest.Server
	queue  *enqueue.Client
	ledger *ledger.Ledger
	spool  string // of the workers that are started
	keys   *tiw.CallbackKeys
	public string // base of the callback URLs
	slow   bool   // confirm late
	hold   bool   // unknown outcomes wait for a person
	// attempts are allowed; 0 is the default.
	attempts int
}

func newWorld(t *testing.T, rdb *redis.Client, o tiwtest.Options) world {
	o.Window = tiwtest.Sliding
	if o.TaskDuration == 0 {
		o.TaskDuration = 100 * time.Millisecond
	}
	return world{t, rdb, tiwtest.Start(t, o), enqueue.New(rdb), ledger.New(rdb, ledger.Options{}), "", nil, "", false, false, 0}
}

// work starts a worker and returns what stops it and waits for its end.
func (w world) work() (stop func()) {
	w.Helper()
	api, err := tiw.New(tiw.Options{
		Endpoint:   w.sim.URL,
		Credential: common.NewCredential(tiwtest.DefaultSecret, tiwtest.DefaultSecret),
		Timeout:    2 * time.Second,
	})
	if err != nil {
		w.Fatal(err)
	}
	o := worker.Options{
		Margin: 100 * time.Millisecond, // the referee shares two cores with everything else, under the race detector
		Redis:  w.rdb, TIW: api, CallTimeout: 2 * time.Second, ConfirmAfter: 200 * time.Millisecond, ProbeEvery: time.Second, Spool: w.spool,
		Log: slog.New(slog.NewTextHandler(w.Output(), nil)),
	}
	o.Attempts = w.attempts
	if w.hold {
		o.OnUnknown = worker.HoldUnknown
	}
	if w.slow {
		o.ConfirmAfter = time.Minute
	}
	if w.keys != nil {
		o.UnknownGrace = 3 * time.Second
		o.CallbackURL = func(id string, attempt int) string {
			return w.keys.URL(w.public, id, attempt, time.Now().Add(time.Hour))
		}
	}
	wk, err := worker.New(o)
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := wk.Run(ctx); err != nil {
			w.Errorf("worker: %v", err)
		}
		api.Close()
	}()
	stop = func() {
		cancel()
		<-done
	}
	w.Cleanup(stop)
	return stop
}

// callbacks makes a receiver of Tencent's callbacks.
func (w *world) callbacks() {
	keys := tiw.NewCallbackKeys("0123456789abcdef0123456789abcdef")
	srv := httptest.NewServer(web.NewCallbackHandler(web.CallbackOptions{
		Keys: keys, Record: w.ledger.Callback, Log: slog.New(slog.NewTextHandler(w.Output(), nil)),
	}))
	w.Cleanup(srv.Close)
	w.keys, w.public = &keys, srv.URL
}

func rooms(n int) iter.Seq2[tasks.Room, error] {
	return func(yield func(tasks.Room, error) bool) {
		for i := range n {
			if !yield(tasks.Room{SdkAppId: app, RoomId: uint64(i + 1)}, nil) {
				return
			}
		}
	}
}

func (w world) enqueue(id string, n int) {
	w.Helper()
	if _, err := w.queue.Batch(w.Context(), rooms(n), enqueue.BatchOptions{ID: id}); err != nil {
		w.Fatal(err)
	}
}

// eventually asks every 20 ms, where nothing tells.
func (w world) eventually(what string, ok func() bool) {
	w.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(3 * time.Minute); !ok(); { // seven failures of one room may take two
		select {
		case <-deadline:
			w.Fatalf("not within three minutes: %s", what)
		case <-tick.C:
		}
	}
}

// until waits until the batch is as wanted.
func (w world) until(id, what string, ok func(ledger.Batch) bool) (b ledger.Batch) {
	w.Helper()
	w.eventually("batch "+id+" "+what, func() bool {
		var err error
		b, err = w.ledger.Batch(w.Context(), id)
		return err == nil && ok(b)
	})
	return b
}

func (w world) ended(id string) ledger.Batch {
	w.Helper()
	return w.until(id, "ended", ledger.Batch.Ended)
}

// cap checks the promise that no second holds more than 20 requests and none
// is rejected.
func (w world) cap() {
	w.Helper()
	st := w.sim.State().Actions[tiwtest.ActionCreate]
	if n := st.Received.SlidingSecond.Calls; n > 20 || st.Rejected > 0 {
		w.Errorf("%d requests in the fullest second, %d rejected", n, st.Rejected)
	}
}

// tasksByRoom counts the tasks that Tencent has for each room.
func (w world) tasksByRoom() map[uint64]int {
	n := make(map[uint64]int)
	for t := range w.sim.Tasks() {
		n[t.RoomId]++
	}
	return n
}

func (w world) onceEach(n int) {
	w.Helper()
	seen := w.tasksByRoom()
	for room, count := range seen {
		if count != 1 {
			w.Errorf("room %d has %d tasks", room, count)
		}
	}
	if len(seen) != n {
		w.Errorf("%d rooms have a task, want %d", len(seen), n)
	}
}

func TestDrain(t *testing.T) {
	for _, workers := range []int{1, 3} {
		t.Run(fmt.Sprintf("of a batch by %d workers snapshots every room once, at the cap", workers), func(t *testing.T) {
			w := newWorld(t, redistest.Client(t), tiwtest.Options{Latency: 30 * time.Millisecond})
			for range workers {
				w.work()
			}
			w.enqueue("a", 60)
			b := w.ended("a")
			if b.Succeeded != 60 || b.Failed != 0 || b.PossibleDuplicates != 0 || b.Images < 60 {
				t.Errorf("%+v", b)
			}
			w.cap()
			w.onceEach(60)
			s, err := w.ledger.Snapshot(t.Context(), "a.1")
			if err != nil || s.State != ledger.Succeeded || len(s.Images) == 0 || s.TaskID == "" || s.RequestID == "" || s.Attempts != 1 {
				t.Errorf("a.1: %+v, %v", s, err)
			}
			for _, key := range []string{keys.Transit, keys.Open, keys.Confirm, keys.Ring} {
				if n := w.rdb.Exists(t.Context(), key).Val(); n != 0 {
					t.Errorf("%s is left over", key)
				}
			}
		})
	}
}

func TestSingleRoom(t *testing.T) {
	w := newWorld(t, redistest.Client(t), tiwtest.Options{})
	w.enqueue("large", 200)
	w.work()
	w.until("large", "is being drained", func(b ledger.Batch) bool { return b.Accepted+b.Succeeded > 0 })
	single, err := w.queue.Room(t.Context(), tasks.Room{SdkAppId: app, RoomId: 9999}, enqueue.RoomOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for n := 1; w.tasksByRoom()[9999] == 0; n++ {
		if err := w.sim.WaitCalls(ctx, n); err != nil {
			t.Fatal(err)
		}
	}
	if b, _ := w.ledger.Batch(t.Context(), "large"); b.Queued < 100 {
		t.Errorf("it was served after most of the batch: %+v", b)
	}
	w.cap()
	if _, err := w.ledger.Snapshot(t.Context(), single.ID); err != nil {
		t.Error(err)
	}
}

func TestSmallBatchBehindALargeOne(t *testing.T) {
	w := newWorld(t, redistest.Client(t), tiwtest.Options{})
	w.enqueue("large", 5000)
	w.work()
	w.until("large", "is being drained", func(b ledger.Batch) bool { return b.Accepted+b.Succeeded > 0 })
	w.enqueue("small", 10)
	if b := w.ended("small"); b.Succeeded != 10 {
		t.Errorf("%+v", b)
	}
	if b, _ := w.ledger.Batch(t.Context(), "large"); b.Queued < 4500 {
		t.Errorf("the small batch waited for the large one: %+v", b)
	}
	w.cap()
}

func TestFaults(t *testing.T) {
	t.Run("InternalError and cut connections are retried and counted as possible duplicates", func(t *testing.T) {
		w := newWorld(t, redistest.Client(t), tiwtest.Options{Faults: tiwtest.Faults{InternalError: 0.05, InternalErrorCreated: 0.05, Cut: 0.1}})
		w.work()
		w.enqueue("a", 60)
		b := w.ended("a")
		if b.Succeeded != 60 {
			t.Errorf("%+v", b)
		}
		twice := 0
		for _, n := range w.tasksByRoom() {
			twice += n - 1
		}
		if twice > b.PossibleDuplicates {
			t.Errorf("%d tasks too many, and only %d possible duplicates counted", twice, b.PossibleDuplicates)
		}
		if st := w.sim.State(); b.PossibleDuplicates == 0 || st.Faults["cut"] == 0 {
			t.Errorf("the simulator did not break anything: %v, %+v", st.Faults, b)
		}
		w.cap()
	})

	t.Run("attempts are bounded, and the reason is kept", func(t *testing.T) {
		w := newWorld(t, redistest.Client(t), tiwtest.Options{Faults: tiwtest.Faults{InternalError: 1}})
		api, err := tiw.New(tiw.Options{Endpoint: w.sim.URL, Credential: common.NewCredential(tiwtest.DefaultSecret, tiwtest.DefaultSecret)})
		if err != nil {
			t.Fatal(err)
		}
		defer api.Close()
		wk, err := worker.New(worker.Options{Redis: w.rdb, TIW: api, Attempts: 3})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- wk.Run(ctx) }()
		defer func() { cancel(); <-done }()
		w.enqueue("a", 2)
		if b := w.ended("a"); b.Failed != 2 {
			t.Errorf("%+v", b)
		}
		s, err := w.ledger.Snapshot(t.Context(), "a.1")
		if err != nil || s.State != ledger.Failed || s.Code != "InternalError" || s.Attempts != 3 || s.PossibleDuplicates != 2 {
			t.Errorf("%+v, %v", s, err)
		}
	})

	t.Run("a permanent error fails the snapshot at once with Tencent's own words", func(t *testing.T) {
		w := newWorld(t, redistest.Client(t), tiwtest.Options{Faults: tiwtest.Faults{Code: 1, CodeName: "InvalidParameter"}})
		w.work()
		w.enqueue("a", 2)
		if b := w.ended("a"); b.Failed != 2 {
			t.Errorf("%+v", b)
		}
		s, err := w.ledger.Snapshot(t.Context(), "a.2")
		if err != nil || s.Code != "InvalidParameter" || s.Message == "" || s.RequestID == "" || s.Attempts != 1 {
			t.Errorf("%+v, %v", s, err)
		}
	})

	t.Run("a failed render fails the snapshot", func(t *testing.T) {
		w := newWorld(t, redistest.Client(t), tiwtest.Options{TaskFailure: 1})
		w.work()
		w.enqueue("a", 2)
		if b := w.ended("a"); b.Failed != 2 {
			t.Errorf("%+v", b)
		}
		if s, _ := w.ledger.Snapshot(t.Context(), "a.1"); s.Code != "InternalErr" || s.TaskID == "" {
			t.Errorf("%+v", s)
		}
	})

	t.Run("somebody else on the same quota costs no attempt", func(t *testing.T) {
		w := newWorld(t, redistest.Client(t), tiwtest.Options{Faults: tiwtest.Faults{ForeignLoad: 10}})
		w.work()
		w.enqueue("a", 40)
		b := w.ended("a")
		if b.Succeeded != 40 || b.PossibleDuplicates != 0 {
			t.Errorf("%+v", b)
		}
		if n := w.sim.State().Actions[tiwtest.ActionCreate].Rejected; n == 0 {
			t.Error("the simulator rejected nothing: nothing was tested")
		}
		w.onceEach(40)
	})

	t.Run("arrears pause the queues, burn no attempt, and say why", func(t *testing.T) {
		w := newWorld(t, redistest.Client(t), tiwtest.Options{
			SdkAppIds: []uint64{app}, // the probe has to ask for one of them
			Faults:    tiwtest.Faults{Arrears: tiwtest.Period{For: tiwtest.Duration(time.Hour)}},
		})
		w.work()
		w.enqueue("a", 500)
		if err := w.sim.WaitCalls(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		w.until("a", "has no request out", func(b ledger.Batch) bool {
			_, tripped, err := w.ledger.Tripped(t.Context())
			return err == nil && tripped && b.Queued == 500
		})
		if err := w.sim.SetFaults(tiwtest.Faults{}); err != nil { // the operator has paid
			t.Fatal(err)
		}
		w.until("a", "goes on", func(b ledger.Batch) bool { return b.Succeeded > 20 && b.Failed == 0 })
		if n := w.sim.State().Codes["ResourceUnavailable.ServiceExpired"]; n > 60 {
			t.Errorf("%d requests were sent into the arrears", n)
		}
	})
}

func TestCallbacks(t *testing.T) {
	t.Run("name the task of a request whose answer was lost: nothing is made twice", func(t *testing.T) {
		w := newWorld(t, redistest.Client(t), tiwtest.Options{Faults: tiwtest.Faults{
			Cut: 0.2, InternalErrorCreated: 0.2, Silent: 0.1, CallbackDouble: 0.5, CallbackEarly: 0.3,
		}})
		w.callbacks()
		w.work()
		w.enqueue("a", 60)
		b := w.ended("a")
		if b.Succeeded != 60 || b.PossibleDuplicates != 0 {
			t.Errorf("%+v", b)
		}
		w.onceEach(60)
		w.cap()
		st := w.sim.State()
		if st.Faults["cut"] == 0 || st.Faults["internalErrorCreated"] == 0 || st.Faults["silent"] == 0 {
			t.Errorf("the simulator broke too little: %v", st.Faults)
		}
	})

	t.Run("that are lost leave a retry after the grace, counted as a possible duplicate", func(t *testing.T) {
		w := newWorld(t, redistest.Client(t), tiwtest.Options{Faults: tiwtest.Faults{Cut: 0.3, CallbackLost: 1}})
		w.callbacks()
		w.work()
		w.enqueue("a", 30)
		b := w.ended("a")
		twice := 0
		for _, n := range w.tasksByRoom() {
			twice += n - 1
		}
		if b.Succeeded != 30 || twice == 0 || b.PossibleDuplicates != twice {
			t.Errorf("%d tasks too many, %+v", twice, b)
		}
	})

	t.Run("wake the confirmation", func(t *testing.T) {
		w := newWorld(t, redistest.Client(t), tiwtest.Options{})
		w.callbacks()
		w.slow = true
		w.work()
		w.enqueue("a", 5)
		if b := w.ended("a"); b.Succeeded != 5 || b.EndedAt.Sub(b.CreatedAt) > 20*time.Second {
			t.Errorf("%+v", b)
		}
	})
}

func TestHeldApp(t *testing.T) {
	w := newWorld(t, redistest.Client(t), tiwtest.Options{SdkAppIds: []uint64{app}})
	stop := w.work()
	mixed := func(yield func(tasks.Room, error) bool) {
		for i := range uint64(40) {
			if !yield(tasks.Room{SdkAppId: app + i%2, RoomId: i + 1}, nil) {
				return
			}
		}
	}
	if _, err := w.queue.Batch(t.Context(), mixed, enqueue.BatchOptions{ID: "mixed"}); err != nil {
		t.Fatal(err)
	}
	w.enqueue("good", 20)
	if b := w.ended("good"); b.Succeeded != 20 {
		t.Errorf("%+v", b)
	}
	w.until("mixed", "has its good half done", func(b ledger.Batch) bool { return b.Succeeded == 20 && b.Queued == 20 })
	held, err := w.ledger.HeldApps(t.Context())
	if err != nil || len(held) != 1 || held[app+1].Code != "UnauthorizedOperation.SdkAppId" {
		t.Errorf("held: %+v, %v", held, err)
	}
	if _, tripped, _ := w.ledger.Tripped(t.Context()); tripped {
		t.Error("the fault of one SdkAppId stopped all sending")
	}
	if n := w.sim.State().Codes["UnauthorizedOperation.SdkAppId"]; n > 40 {
		t.Errorf("%d calls for an SdkAppId that is held", n)
	}

	// What waits for an app that nobody owns is canceled: it is not held for ever.
	if _, err := w.queue.Room(t.Context(), tasks.Room{SdkAppId: app + 2, RoomId: 1}, enqueue.RoomOptions{Key: "k"}); err != nil {
		t.Fatal(err)
	}
	is := func(want bool) func() bool {
		return func() bool {
			held, err := w.ledger.HeldApps(t.Context())
			_, ok := held[app+2]
			return err == nil && ok == want
		}
	}
	w.eventually("the other app is held", is(true))
	wrong := tasks.KeyID(app+2, 1, "k")
	w.eventually("its snapshot is queued and can be canceled", func() bool {
		state, err := w.ledger.Cancel(t.Context(), wrong, tasks.Room{SdkAppId: app + 2, RoomId: 1})
		return err == nil && state == ledger.Canceled
	})
	w.eventually("the other app is no longer held", is(false))

	// The app is given to the account: another simulator in the same place.
	stop()
	again := newWorld(t, w.rdb, tiwtest.Options{})
	again.work()
	if b := again.ended("mixed"); b.Succeeded != 40 || b.Failed != 0 {
		t.Errorf("%+v", b)
	}
}

func TestResultThatNeverComes(t *testing.T) {
	w := newWorld(t, redistest.Client(t), tiwtest.Options{TaskDuration: time.Hour})
	w.work()
	w.enqueue("a", 1)
	w.until("a", "is accepted", func(b ledger.Batch) bool { return b.Accepted == 1 })
	w.rdb.HSet(t.Context(), keys.Snapshot("a.1"), "accepted_at", time.Now().Add(-72*time.Hour).UnixMilli())
	if b := w.ended("a"); b.Failed != 1 {
		t.Errorf("%+v", b)
	}
	if s, err := w.ledger.Snapshot(t.Context(), "a.1"); err != nil || s.Code != tiw.CodeResultTimeout || s.Message == "" {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestHoldUnknown(t *testing.T) {
	w := newWorld(t, redistest.Client(t), tiwtest.Options{Faults: tiwtest.Faults{Cut: 1}})
	w.hold = true
	w.work()
	w.enqueue("a", 2)
	held := func() int {
		n := 0
		for _, id := range []string{"a.1", "a.2"} {
			if s, err := w.ledger.Snapshot(t.Context(), id); err == nil && s.Held && s.State == ledger.Unknown {
				n++
			}
		}
		return n
	}
	w.eventually("both are held", func() bool { return held() == 2 })
	if n := w.sim.State().Actions[tiwtest.ActionCreate].Received.Calls; n != 2 {
		t.Errorf("%d requests, want one each", n)
	}
	if err := w.sim.SetFaults(tiwtest.Faults{}); err != nil {
		t.Fatal(err)
	}
	for i, id := range []string{"a.1", "a.2"} {
		if ok, err := w.ledger.Retry(t.Context(), id, tasks.Room{SdkAppId: app, RoomId: uint64(i + 1)}); !ok || err != nil {
			t.Error(id, ok, err)
		}
	}
	if b := w.ended("a"); b.Succeeded != 2 || b.PossibleDuplicates != 2 {
		t.Errorf("%+v", b)
	}
}

// The last attempt allowed is held, too, and not given up.
func TestHoldLastAttempt(t *testing.T) {
	w := newWorld(t, redistest.Client(t), tiwtest.Options{Faults: tiwtest.Faults{Cut: 1}})
	w.hold, w.attempts = true, 1
	w.work()
	w.enqueue("a", 1)
	w.eventually("it is held", func() bool {
		s, err := w.ledger.Snapshot(t.Context(), "a.1")
		if err == nil && s.State.Ended() {
			t.Fatalf("%+v", s)
		}
		return err == nil && s.Held
	})
	if state, err := w.ledger.Cancel(t.Context(), "a.1", tasks.Room{}); state != ledger.Canceled || err != nil {
		t.Error(state, err)
	}
	if b := w.ended("a"); b.Canceled != 1 {
		t.Errorf("%+v", b)
	}
}

func TestWrongClock(t *testing.T) {
	w := newWorld(t, redistest.Client(t), tiwtest.Options{Clock: func() time.Time { return time.Now().Add(10 * time.Minute) }})
	w.work()
	w.enqueue("a", 30)
	if b := w.ended("a"); b.Succeeded != 30 || b.PossibleDuplicates != 0 {
		t.Errorf("%+v", b)
	}
	w.onceEach(30)
}

func TestHandOver(t *testing.T) {
	w := newWorld(t, redistest.Client(t), tiwtest.Options{Latency: 300 * time.Millisecond})
	stop := w.work()
	w.enqueue("a", 60)
	if err := w.sim.WaitCalls(t.Context(), 15); err != nil {
		t.Fatal(err)
	}
	stop() // requests are out, others wait for a permit
	b, err := w.ledger.Batch(t.Context(), "a")
	if err != nil || b.Sending != 0 || b.Unknown != 0 || b.Accepted+b.Succeeded < 15 {
		t.Errorf("a stopped worker left %+v, %v", b, err)
	}
	w.work()
	if b := w.ended("a"); b.Succeeded != 60 || b.PossibleDuplicates != 0 {
		t.Errorf("%+v", b)
	}
	w.cap()
	w.onceEach(60)
}

func TestRedisRestarts(t *testing.T) {
	server := redistest.Real(t, "--appendonly", "yes", "--appendfsync", "always")
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr})
	t.Cleanup(func() { rdb.Close() })
	w := newWorld(t, rdb, tiwtest.Options{Latency: 200 * time.Millisecond})
	w.work()
	w.enqueue("a", 60)
	if err := w.sim.WaitCalls(t.Context(), 15); err != nil {
		t.Fatal(err)
	}
	server.Kill() // requests are out: their outcomes have to wait
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	if b := w.ended("a"); b.Succeeded != 60 || b.PossibleDuplicates != 0 {
		t.Errorf("%+v", b)
	}
	w.cap()
	w.onceEach(60)
}

// A task that vanished from asynq, by hand or by accident, is put back.
func TestLostTask(t *testing.T) {
	w := newWorld(t, redistest.Client(t), tiwtest.Options{})
	w.enqueue("a", 5)
	ids, _, err := backlog.New(w.rdb).Take(t.Context(), "a feeder that died", 3)
	if err != nil || len(ids) != 3 {
		t.Fatal(ids, err)
	}
	for _, id := range ids {
		w.rdb.ZAdd(t.Context(), keys.Transit, redis.Z{Score: 1, Member: id}) // a minute ago
	}
	w.work()
	if b := w.ended("a"); b.Succeeded != 5 {
		t.Errorf("%+v", b)
	}
	w.onceEach(5)
}
