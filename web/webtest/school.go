package webtest

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/enqueue"
	"tiwsnap/gate"
	"tiwsnap/images"
	"tiwsnap/internal/guard"
	"tiwsnap/internal/keys"
	"tiwsnap/ledger"
	"tiwsnap/ratelimit"
	"tiwsnap/schedule"
	"tiwsnap/tasks"
	"tiwsnap/web"
	"tiwsnap/web/api"
)

// Password is the password of all users.
const Password = "CANARY-correct-horse"

// PasswordHash is a hash of Password with the cheapest allowed parameters: a login takes a fifth of the usual time.
const PasswordHash = "$argon2id$v=19$m=8192,t=1,p=1$dGl3c25hcCdzIHRlc3RzIQ$M3a45SLDsg7OGy2eIjXepAh1S4VfOPTxsww/Pqaz0+Y"

// NewPages returns a handler of all routes. Local clients need no login.
func NewPages(t *testing.T, rdb redis.UniversalClient, change ...func(*api.Options)) http.Handler {
	t.Helper()
	auth, err := web.NewAuth(web.AuthOptions{})
	if err != nil {
		t.Fatal(err)
	}
	o := api.Options{Redis: rdb, Ledger: ledger.New(rdb, ledger.Options{})}
	for _, f := range change {
		f(&o)
	}
	h, stop := Handler(auth, o)
	t.Cleanup(stop)
	return h
}

// School enqueues a batch of rooms with labels, of which some have ended.
func School(t *testing.T, rdb redis.UniversalClient, id string, n int) {
	t.Helper()
	rooms := func(yield func(tasks.Room, error) bool) {
		for i := range n {
			label := map[string]string{"Class": fmt.Sprintf("高二（%d）班", i%4+1), "Teacher": "王芳"}
			if !yield(tasks.Room{SdkAppId: 1400123480, RoomId: uint64(20101 + i), Label: label}, nil) {
				return
			}
		}
	}
	if _, err := enqueue.New(rdb, "").Batch(t.Context(), rooms, enqueue.BatchOptions{ID: id}); err != nil {
		t.Fatal(err)
	}
	l := ledger.New(rdb, ledger.Options{})
	for i, code := range []string{"", "InternalErr", "ClientError.NoImage", "AuthFailure", "InvalidParameter.Width"} {
		if i >= n {
			return
		}
		room := tasks.Room{SdkAppId: 1400123480, RoomId: uint64(20101 + i)}
		p := tasks.SnapshotPayload{ID: tasks.RowID(id, i+1), Batch: id, Room: room}
		intent, err := l.Begin(t.Context(), p, "token"+p.ID, "")
		if err != nil {
			t.Fatal(err)
		}
		o := ledger.Outcome{State: ledger.Accepted, TaskID: "task-" + p.ID, RequestID: "request-" + p.ID}
		result := ledger.Result{State: ledger.Succeeded, Code: code}
		switch i {
		case 0:
			result.Images = []string{"https://cos.example/1.png", "https://cos.example/2.png"}
		case 1:
			result.State, result.Message = ledger.Failed, "render failed"
		case 3, 4:
			o = ledger.Outcome{State: ledger.Failed, Code: code, Message: "no"}
		}
		if err := l.Outcome(t.Context(), p.ID, intent.Attempt, o); err != nil {
			t.Fatal(err)
		}
		if o.State == ledger.Accepted {
			if err := l.Settle(t.Context(), p.ID, o.TaskID, result); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// SucceedWith makes a row of a batch succeed with images.
func SucceedWith(t *testing.T, l *ledger.Ledger, batch string, row int, urls ...string) {
	t.Helper()
	room := tasks.Room{SdkAppId: 1400123480, RoomId: uint64(20100 + row)}
	p := tasks.SnapshotPayload{ID: tasks.RowID(batch, row), Batch: batch, Room: room}
	intent, err := l.Begin(t.Context(), p, "token"+p.ID, "")
	if err == nil {
		err = l.Outcome(t.Context(), p.ID, intent.Attempt, ledger.Outcome{State: ledger.Accepted, TaskID: "task-" + p.ID})
	}
	if err == nil {
		err = l.Settle(t.Context(), p.ID, "task-"+p.ID, ledger.Result{State: ledger.Succeeded, Images: urls})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// WithLimiter gives the API the rate limiter of a worker.
func WithLimiter(t *testing.T, rdb redis.UniversalClient) func(*api.Options) {
	l, err := ratelimit.New(ratelimit.Options{Redis: rdb, Key: keys.Default.Limit(gate.ActionCreate)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(context.Background()) })
	return func(o *api.Options) { o.Limiters = map[string]*ratelimit.Limiter{gate.ActionCreate: l} }
}

// WithSchedules gives the API a schedule of two rooms.
func WithSchedules(t *testing.T) func(*api.Options) {
	spec, err := schedule.ParseSpec("45 10 * * 1-5", "Asia/Shanghai")
	if err != nil {
		t.Fatal(err)
	}
	return func(o *api.Options) {
		o.Schedules = []schedule.Schedule{{
			Name: "after-class", Cron: "45 10 * * 1-5", Zone: "Asia/Shanghai", Spec: spec,
			Source: schedule.List("SdkAppId,RoomId\n7,1\n7,2\n7,x\n"),
		}}
	}
}

// WithSimulator lets the API read images from loopback addresses.
func WithSimulator(t *testing.T) func(*api.Options) {
	t.Helper()
	private, err := guard.ParsePrivate([]string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	return func(o *api.Options) {
		o.Images = &images.Source{Fetcher: images.NewFetcher(images.FetcherOptions{Private: private})}
	}
}

// StopSending stops all sending because of an error code that concerns the account.
func StopSending(t *testing.T, rdb redis.UniversalClient, code string) {
	t.Helper()
	err := rdb.HSet(t.Context(), keys.Default.Breaker(), "cause", "account", "code", code, "message", code,
		"since", time.Now().UnixMilli(), "next_trial_at", time.Now().Add(time.Minute).UnixMilli(), "pass", 1).Err()
	if err != nil {
		t.Fatal(err)
	}
}
