package worker_test

import (
	"cmp"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common"
	"go.uber.org/goleak"

	"tiwsnap/enqueue"
	"tiwsnap/gate"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
	"tiwsnap/tiw"
	"tiwsnap/tiw/tiwtest"
	"tiwsnap/web/callback"
	"tiwsnap/webhook"
	"tiwsnap/worker"
	"tiwsnap/worker/workertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(redistest.Both(m)) }

const app = 1400123480

// world is a Redis, a simulator, and the clients of producers and operators.
type world struct {
	*testing.T
	rdb    *redis.Client
	ns     keys.Namespace
	secret string // of the account: both SecretId and SecretKey
	sim    *tiwtest.Server
	queue  *enqueue.Client
	ledger *ledger.Ledger
	spool  string    // folder of the workers that work starts
	log    io.Writer // of these workers; default: the test's
	keys   *tiw.CallbackKeys
	public string // base URL of callbacks
	slow   bool   // first poll after a minute
	hold   bool   // hold unknown outcomes for review
	// attempts and limit (requests per second) override the default of the worker unless they are 0.
	attempts, limit int
	// second is the length of a second of the gate; 0: 50 ms. suspendFor is in real time.
	second, suspendFor time.Duration
	options            func(*worker.Options) // changes the options; may be nil
}

// firstStop returns the first stop of all sending, or an empty one.
func (w world) firstStop() gate.Stop {
	w.Helper()
	all, err := gate.NewBreaker(w.rdb, w.ns).Stops(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	if len(all) == 0 || all[0].Cause == gate.Application {
		return gate.Stop{}
	}
	return all[0]
}

// suspension returns the stop of an application, or an empty one.
func (w world) suspension(app uint64) gate.Stop {
	w.Helper()
	all, err := gate.NewBreaker(w.rdb, w.ns).Stops(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	for _, s := range all {
		if s.App == app {
			return s
		}
	}
	return gate.Stop{}
}

func newWorld(t *testing.T, rdb *redis.Client, o tiwtest.Options) world {
	return newAccount(t, rdb, keys.Default, tiwtest.DefaultSecret, o)
}

// newAccount returns a world in a namespace with its own account.
func newAccount(t *testing.T, rdb *redis.Client, ns keys.Namespace, secret string, o tiwtest.Options) world {
	o.Credentials = map[string]tiwtest.Secret{secret: tiwtest.Secret(secret)}
	o.Window = tiwtest.Sliding
	if o.TaskDuration == 0 {
		o.TaskDuration = 100 * time.Millisecond
	}
	return world{
		T: t, rdb: rdb, ns: ns, secret: secret, sim: tiwtest.Start(t, o),
		queue: enqueue.New(rdb, ns), ledger: ledger.New(rdb, ledger.Options{Namespace: ns}),
	}
}

// work starts a worker. stop stops it and waits until it has stopped.
func (w world) work() (stop func()) {
	w.Helper()
	api := workertest.API(w, w.sim, tiw.Options{
		Credential: common.NewCredential(w.secret, w.secret), Timeout: 2 * time.Second,
	})
	o := worker.Options{
		Margin: 100 * time.Millisecond, // the simulator shares the machine with all other tests
		Redis:  w.rdb, Namespace: w.ns, TIW: api, CallTimeout: 2 * time.Second, ConfirmAfter: 200 * time.Millisecond,
		Spool: w.spool,
		Log:   slog.New(slog.NewTextHandler(cmp.Or(w.log, w.Output()), nil)),
	}
	o.Attempts, o.RateLimit, o.SuspendFor, o.Second = w.attempts, w.limit, w.suspendFor, w.second
	if w.second == 0 {
		o.Second = 50 * time.Millisecond
	}
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
	if w.options != nil {
		w.options(&o)
	}
	return workertest.Run(w, o)
}

// startCallbacks starts a receiver of Tencent's callbacks.
func (w *world) startCallbacks() {
	keys := tiw.NewCallbackKeys("0123456789abcdef0123456789abcdef")
	srv := httptest.NewServer(callback.NewHandler(callback.Options{
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

// eventually polls ok every 20 ms, for conditions without an event.
func (w world) eventually(what string, ok func() bool) {
	w.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(3 * time.Minute); !ok(); { // seven failures of one room may take two minutes
		select {
		case <-deadline:
			w.Fatalf("not within three minutes: %s\n%s", what, w.state())
		case <-tick.C:
		}
	}
}

// state describes batches, queues and the simulator, for the failure of a wait.
func (w world) state() string {
	var b strings.Builder
	batches, err := w.ledger.Batches(w.Context(), 20)
	fmt.Fprintf(&b, "batches: %+v, %v\n", batches, err)
	inspector := asynq.NewInspectorFromRedisClient(w.rdb)
	for _, queue := range []string{w.ns.QueueInteractive(), w.ns.QueueBulk()} {
		info, err := inspector.GetQueueInfo(queue)
		fmt.Fprintf(&b, "queue %s: %+v, %v\n", queue, info, err)
	}
	fmt.Fprintf(&b, "simulator: %+v\n", w.sim.State())
	return b.String()
}

// waitForBatch waits until ok returns true for the batch.
func (w world) waitForBatch(id, what string, ok func(ledger.Batch) bool) (b ledger.Batch) {
	w.Helper()
	w.eventually("batch "+id+" "+what, func() bool {
		var err error
		b, err = w.ledger.Batch(w.Context(), id)
		return err == nil && ok(b)
	})
	return b
}

func (w world) waitForEnd(id string) ledger.Batch {
	w.Helper()
	return w.waitForBatch(id, "ended", ledger.Batch.Ended)
}

// wantWithinLimit checks that no second has more than 20 requests, and that none is rejected.
func (w world) wantWithinLimit() {
	w.Helper()
	st := w.sim.State().Actions[tiwtest.ActionCreate]
	if n := st.Received.SlidingSecond.Requests; n > 20 || st.Rejected > 0 {
		w.Errorf("%d requests in the peak second, %d rejected, want at most 20 and none", n, st.Rejected)
	}
}

// tasksByRoom counts the tasks of each room at Tencent.
func (w world) tasksByRoom() map[uint64]int {
	n := make(map[uint64]int)
	for t := range w.sim.Tasks() {
		n[t.RoomId]++
	}
	return n
}

func (w world) wantOneTaskEach(n int) {
	w.Helper()
	seen := w.tasksByRoom()
	for room, count := range seen {
		if count != 1 {
			w.Errorf("room %d has %d tasks, want 1", room, count)
		}
	}
	if len(seen) != n {
		w.Errorf("%d rooms have a task, want %d", len(seen), n)
	}
}

// createRequests returns the number of Create requests that have arrived.
func (w world) createRequests() int {
	return int(w.sim.State().Actions[tiwtest.ActionCreate].Received.Requests)
}

func (w world) setFaults(f tiwtest.Faults) {
	w.Helper()
	if err := w.sim.SetFaults(f); err != nil {
		w.Fatal(err)
	}
}

func (w world) waitForStop(c gate.Cause) gate.Stop {
	w.Helper()
	var s gate.Stop
	w.eventually("sending is stopped: "+string(c), func() bool { s = w.firstStop(); return s.Cause == c })
	return s
}

// workWithWebhooks runs a worker that sends webhooks until the test ends.
func (w world) workWithWebhooks(sub webhook.Subscription) {
	w.Helper()
	w.workWith(worker.Options{Webhooks: sub})
}

// workWith runs a worker with these options, and those that every test needs, until the test ends.
func (w world) workWith(o worker.Options) {
	w.Helper()
	o.Redis, o.TIW, o.ConfirmAfter = w.rdb, workertest.API(w, w.sim, tiw.Options{}), 200*time.Millisecond
	workertest.Run(w, o)
}

// newRealWorld is newWorld on a redis-server, which counts blocked clients and can refuse commands.
func newRealWorld(t *testing.T) world {
	return newWorld(t, redistest.RealClient(t), tiwtest.Options{})
}

// waitIdle waits until this number of workers is idle. An idle worker blocks on two queues and on the next batch.
func (w world) waitIdle(workers int) {
	w.Helper()
	w.eventually(fmt.Sprintf("%d workers are idle", workers), func() bool {
		info, err := w.rdb.Info(w.Context(), "clients").Result()
		return err == nil && strings.Contains(info, fmt.Sprintf("blocked_clients:%d\r\n", 3*workers))
	})
}

// enqueueRoom enqueues one room.
func (w world) enqueueRoom(room uint64) {
	w.Helper()
	if _, err := w.queue.Room(w.Context(), tasks.Room{SdkAppId: app, RoomId: room}, enqueue.RoomOptions{}); err != nil {
		w.Fatal(err)
	}
}

// waitForRequests waits until n requests have reached Tencent.
func (w world) waitForRequests(n int) {
	w.Helper()
	if err := w.sim.WaitRequests(w.Context(), n); err != nil {
		w.Fatal(err)
	}
}

func (w world) snapshot(id string) ledger.Snapshot {
	w.Helper()
	s, err := w.ledger.Snapshot(w.Context(), id)
	if err != nil {
		w.Fatal(err)
	}
	return s
}
