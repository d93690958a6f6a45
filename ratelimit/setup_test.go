package ratelimit_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/embedded"
	"tiwsnap/internal/redistest"
	"tiwsnap/ratelimit"
)

const key = "{tiwsnap}:limit:CreateSnapshotTask"

// uses records when permits were used.
type uses struct {
	mu sync.Mutex
	at []time.Time
}

func (u *uses) add(t time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.at = append(u.at, t)
}

func (u *uses) count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.at)
}

// peak returns the maximum number of uses in any second, and the start of that second.
func (u *uses) peak() (int, time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	slices.SortFunc(u.at, time.Time.Compare)
	most, when := 0, time.Time{}
	first := 0
	for i, t := range u.at {
		for t.Sub(u.at[first]) >= time.Second {
			first++
		}
		if i-first+1 > most {
			most, when = i-first+1, u.at[first]
		}
	}
	return most, when
}

// wantAtMost fails the test if any second has more than limit uses.
func (u *uses) wantAtMost(t interface{ Errorf(string, ...any) }, limit int) {
	if n, when := u.peak(); n > limit {
		var s string
		for _, at := range u.at {
			if d := at.Sub(when); d >= 0 && d < time.Second {
				s += fmt.Sprintf(" %v", d)
			}
		}
		t.Errorf("%d permits were used in the second from %v on, want at most %d:%s", n, when, limit, s)
	}
}

// world is a Redis in the virtual time of a synctest bubble.
type world struct {
	mu     sync.Mutex
	master *master       // the current one
	offset time.Duration // of the clock of Redis from the virtual time
}

// master is a Redis server that accepts writes. n is the number of masters before it.
type master struct {
	redis *embedded.Server
	c     *redis.Client
	n     int
}

func newMaster(t testing.TB, n int) *master {
	m := &master{redis: embedded.New(), n: n}
	t.Cleanup(m.redis.Close)
	m.c = redistest.DialClient(t, m.redis)
	return m
}

func newWorld(t testing.TB) *world { return &world{master: newMaster(t, 0)} }

// replica copies the bucket as it is now. promote makes the copy the current master.
func (w *world) replica(t testing.TB) (promote func() *master) {
	w.mu.Lock()
	defer w.mu.Unlock()
	from, to := w.master, newMaster(t, w.master.n+1)
	if meta := from.c.HGetAll(t.Context(), key+":meta").Val(); len(meta) > 0 {
		to.c.HSet(t.Context(), key+":meta", meta)
	}
	for _, set := range []string{key, key + ":line", key + ":refused"} {
		if all := from.c.ZRangeWithScores(t.Context(), set, 0, -1).Val(); len(all) > 0 {
			to.c.ZAdd(t.Context(), set, all...)
		}
	}
	return func() *master {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.master = to
		return to
	}
}

// link is the network between one process and Redis.
type link struct {
	world *world
	delay func() time.Duration // to Redis; nil: none
	back  func() time.Duration // from Redis; nil: none

	mu          sync.Mutex
	to          *master
	cut         bool // drops everything
	dropReplies bool // drops replies only
	calls       int
}

var errCut = errors.New("the link is cut")

func (l *link) set(cut, dropReplies bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut, l.dropReplies = cut, dropReplies
}

func (l *link) get() (cut, dropReplies bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cut, l.dropReplies
}

// move makes the process use a newer master.
func (l *link) move(to *master) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if to.n > l.to.n {
		l.to = to
	}
}

// count returns how many calls have reached Redis.
func (l *link) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.calls
}

func wait(delay func() time.Duration) {
	if delay != nil {
		time.Sleep(delay())
	}
}

func (l *link) DialHook(next redis.DialHook) redis.DialHook { return next }

func (l *link) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (l *link) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		wait(l.delay)
		if cut, _ := l.get(); cut {
			cmd.SetErr(errCut)
			return errCut
		}
		w := l.world
		w.mu.Lock()
		l.mu.Lock()
		to := l.to
		l.mu.Unlock()
		to.redis.SetTime(time.Now().Add(w.offset))
		err := to.c.Process(ctx, cmd)
		w.mu.Unlock()
		l.mu.Lock()
		l.calls++
		l.mu.Unlock()
		wait(l.back)
		if cut, dropReplies := l.get(); cut || dropReplies {
			cmd.SetErr(errCut)
			return errCut
		}
		return err
	}
}

// link returns a network link to Redis and a client that uses it.
func (w *world) link(t testing.TB, delay func() time.Duration) (*link, redis.UniversalClient) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := &link{world: w, delay: delay, back: delay, to: w.master}
	c := redistest.DialClient(t, w.master.redis)
	c.AddHook(l)
	return l, c
}

// client returns a client without a network delay.
func (w *world) client() *redis.Client {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.master.c
}

// newLimiter returns a limiter that is closed at the end of the test.
func newLimiter(t testing.TB, o ratelimit.Options) *ratelimit.Limiter {
	t.Helper()
	o.Key = cmp.Or(o.Key, key)
	l, err := ratelimit.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeLimiter(t, l) })
	return l
}

func closeLimiter(t testing.TB, l *ratelimit.Limiter) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := l.Close(ctx); err != nil {
		t.Errorf("Close(): %v", err)
	}
}

// drain uses n permits in total with several workers of each limiter. A worker holds each permit for hold before its
// use. drain returns the duration and the uses.
func drain(t testing.TB, n, workers int, hold time.Duration, limiters ...*ratelimit.Limiter) (time.Duration, *uses) {
	u := new(uses)
	todo := make(chan struct{}, n)
	for range n {
		todo <- struct{}{}
	}
	close(todo)
	began := time.Now()
	var wg sync.WaitGroup
	for _, l := range limiters {
		for range workers {
			wg.Go(func() {
				for range todo {
					if err := useOne(t.Context(), l, hold, u); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
	}
	wg.Wait()
	return time.Since(began), u
}

// useOne uses one permit. If a permit is stale, it acquires another one.
func useOne(ctx context.Context, l *ratelimit.Limiter, hold time.Duration, u *uses) error {
	for {
		p, err := l.Acquire(ctx, ratelimit.Bulk)
		if err != nil {
			return fmt.Errorf("acquire: %w", err)
		}
		time.Sleep(hold)
		err = p.Use(ctx)
		if err == nil {
			u.add(time.Now())
			p.Sent()
			return nil
		}
		if !errors.Is(err, ratelimit.ErrStale) {
			return fmt.Errorf("use: %w", err)
		}
	}
}

// inVirtualTime runs a test in virtual time. The bucket was created two seconds ago, and its margin has come down to
// the minimum. No process has set a limit yet.
func inVirtualTime(t *testing.T, test func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		_, c := w.link(t, nil)
		l, err := ratelimit.New(ratelimit.Options{Redis: c, Key: key})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		closeLimiter(t, l)
		if err := c.HSet(t.Context(), key+":meta", "margin", "0", "asked_low", "0", "asked_high", "0").Err(); err != nil {
			t.Fatal(err)
		}
		test(t, w)
	})
}

func mustAcquire(t testing.TB, l *ratelimit.Limiter, p ratelimit.Priority) *ratelimit.Permit {
	t.Helper()
	permit, err := l.Acquire(t.Context(), p)
	if err != nil {
		t.Fatalf("Acquire(): %v", err)
	}
	return permit
}

func mustUse(t testing.TB, p *ratelimit.Permit) {
	t.Helper()
	if err := p.Use(t.Context()); err != nil {
		t.Fatalf("Use(): %v", err)
	}
	p.Sent()
}

// wantElapsed checks the virtual time since began, to the millisecond.
func wantElapsed(t *testing.T, began time.Time, want time.Duration) {
	t.Helper()
	if took := time.Since(began).Round(time.Millisecond); took != want {
		t.Errorf("elapsed time = %v, want %v", took, want)
	}
}
