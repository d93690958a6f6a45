package ratelimit

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"tiwsnap/internal/embedded"
)

// TestBucketScript checks the results of the script, call by call. Between two calls the clock stands still. All
// numbers are milliseconds since the start of the scenario. The bucket has 2 tokens, which stay out for 1040 after a
// use. Permits are valid for 500 and at least 5 apart. They are reserved 50 ahead, urgent ones 1090. So no token is out
// for longer than 3000, even with the widest margin.
func TestBucketScript(t *testing.T) {
	type call struct {
		at      int
		process string // or Redis, for a change of its data, clock or server
		text    string // the request or the change
		want    string // instant of the permit, or when to call again, or "none"; then the limit unless it is 2
	}
	for _, scenario := range []struct {
		name  string
		calls []call
	}{
		{"a new bucket has no token for a second and the margin", []call{
			{0, "A", "reserve 1", "again 990"},
			{990, "A", "reserve 1", "1040"},
			{995, "B", "reserve 1", "1045"},
		}},
		{"two seconds later a new bucket grants permits at once, spaced", []call{
			{0, "A", "", "none"},
			{2000, "A", "reserve 1", "2000"},
			{2000, "B", "reserve 1", "2005"},
		}},
		{"a token returns a second and the margin after its use", []call{
			{0, "A", "", "none"},
			{2000, "A", "reserve 1", "2000"},
			{2001, "A", "used 1 1, reserve 2", "2005"},
			{2007, "A", "used 2 2, reserve 3", "again 2990"}, // 1 was used at 2000
			{2990, "A", "reserve 3", "3040"},
			{3041, "A", "used 3 1, reserve 4", "3045"}, // 2 was used at 2005
		}},
		{"a late use counts from its own time", []call{
			{0, "A", "", "none"},
			{2000, "A", "reserve 1", "2000"},
			{2400, "A", "used 1 50, reserve 2", "2400"},
			{2401, "A", "used 2 0, reserve 3", "again 3340"},
		}},
		{"an unreported permit is out until the end of its validity, a second and the margin", []call{
			{0, "A", "", "none"},
			{2000, "dead", "reserve 1", "2000"}, // 2000 + 500 + 1040
			{2005, "A", "reserve 1", "2005"},
			{2005, "A", "used 1 0, urgent 2", "3045"},
			{3045, "A", "used 2 0, urgent 3", "3540"},
		}},
		{"a process that waits for an unreported permit calls again when it would return if used", []call{
			{0, "A", "", "none"},
			{2000, "A", "reserve 1", "2000"},
			{2000, "B", "reserve 1", "2005"},
			{2000, "C", "reserve 1", "again 2990"},
			{3000, "A", "used 1 990", "none"},
			{3000, "C", "reserve 1", "3050"},
		}},
		{"a report counts, even that of a use after the validity", []call{
			{0, "A", "", "none"},
			{2000, "A", "reserve 1", "2000"},
			{2001, "B", "reserve 1", "2005"},
			{3000, "A", "used 1 0", "none"}, // it was valid until 2500
			{3000, "B", "used 1 700, urgent 2", "3340"},
			{3340, "B", "used 2 0, urgent 3", "4040"},
		}},
		{"an unused permit returns at once", []call{
			{0, "A", "", "none"},
			{2000, "A", "reserve 1", "2000"},
			{2000, "A", "used 1 0, reserve 2", "2005"},
			{2000, "A", "back 2, reserve 3", "2010"},
		}},
		{"the same request twice reserves once", []call{
			{0, "A", "", "none"},
			{2000, "A", "reserve 1", "2000"},
			{2000, "B", "reserve 1", "2005"},
			{2100, "A", "reserve 1", "2100"},
		}},
		{"several permits are reserved at once if their tokens return soon", []call{
			{0, "A", "", "none"},
			{2000, "A", "reserve 1 3", "2000 2005"},
			{2005, "A", "used 1 5, used 2 0, reserve 3 3", "again 2990"},
		}},
		{"processes in the queue are served in turn, before a new one", []call{
			{0, "A", "", "none"},
			{2000, "A", "reserve 1", "2000"},
			{2000, "A", "used 1 0, reserve 2", "2005"},
			{2100, "A", "used 2 0, reserve 3", "again 2990"},
			{2100, "B", "reserve 1", "again 3090"},
			{2990, "C", "reserve 1", "again 4030"},
			{2990, "A", "reserve 3", "3040"},
			{3090, "B", "reserve 1", "3140"},
		}},
		{"a process that leaves the queue or calls too late loses its place", []call{
			{0, "A", "", "none"},
			{2000, "A", "reserve 1", "2000"},
			{2000, "A", "used 1 0, reserve 2", "2005"},
			{2100, "A", "used 2 0, reserve 3", "again 2990"},
			{2100, "B", "reserve 1", "again 3090"},
			{2100, "A", "leave", "none"},
			{2990, "C", "reserve 1", "again 3090"}, // behind B
			{3291, "D", "reserve 1", "3291"},
		}},
		{"an urgent request reserves at once and skips the queue", []call{
			{0, "A", "", "none"},
			{2000, "A", "reserve 1", "2000"},
			{2000, "A", "used 1 0, reserve 2", "2005"},
			{2100, "A", "used 2 0, reserve 3", "again 2990"},
			{2100, "B", "urgent 1", "3040"},
			{2990, "A", "reserve 3", "again 3090"},
			{3090, "A", "reserve 3", "3140"},
		}},
		{"after an urgent permit the others are spread over the second", []call{
			{0, "A", "", "none"},
			{2000, "A", "urgent 1", "2000"},
			{2000, "A", "used 1 0, reserve 2", "2000"},
			{2000, "A", "used 2 0", "none"},
			{4000, "A", "reserve 3", "4000"},
			{4000, "A", "used 3 0, reserve 4", "again 4418"}, // 454 later, not 5
		}},
		{"on request all are spread over the second, for five seconds", []call{
			{0, "A", "", "none"},
			{2000, "B", "spread", "none"},
			{2000, "A", "reserve 1", "2000"},
			{2000, "A", "used 1 0, reserve 2", "again 2418"}, // 468 later, not 5
			{7000, "A", "reserve 2", "7000"},
			{7000, "A", "used 2 0, reserve 3", "7005"},
		}},
		{"after nine urgent permits in a row the queue is served once", []call{
			{0, "A", "", "none"},
			{2000, "A", "urgent 1", "2000"},
			{2000, "B", "urgent 1", "2005"},
			{2000, "C", "reserve 1", "again 2990"},
			{2005, "A", "used 1 5", "none"},
			{2005, "B", "used 1 0", "none"},
			{2005, "Redis", "urgent_streak 9", ""},
			{2100, "A", "urgent 2", "again 2995"},
			{2990, "C", "reserve 1", "3040"},
			{2995, "A", "urgent 2", "3045"},
		}},
		{"a limit set by hand applies to all", []call{
			{0, "A", "", "none"},
			{2000, "Redis", "limit 1", ""},
			{2000, "A", "reserve 1", "2000 1"},
			{2000, "A", "used 1 0, reserve 2", "again 2990 1"},
			{2000, "Redis", "limit 3", ""},
			{2000, "B", "reserve 1", "2005 3"},
			{2000, "Redis", "limit 0", ""},
			{2000, "B", "used 1 0", "none"},
		}},
		{"the lowest limit of the workers applies, for up to a minute after its last call", []call{
			{0, "A", "limit 4", "none 4"},
			{2000, "A", "limit 4", "none 4"},
			{2000, "B", "limit 1, reserve 1", "2000 1"},
			{2000, "A", "reserve 1", "again 2990 1"},
			{2000, "B", "used 1 0", "none 1"},
			{3040, "A", "reserve 1", "3040 1"},
			{31000, "A", "used 1 0", "none 1"}, // in the next half minute
			{61000, "A", "", "none 4"},
		}},
		{"a process that only reads sets no limit", []call{
			{0, "A", "limit 4", "none 4"},
			{2000, "B", "limit 1, read", "none 4"},
			{2000, "A", "", "none 4"},
			{62000, "B", "read", "none 1"}, // no worker has called for a minute
		}},
		{"a limit set by hand overrides those of the workers", []call{
			{0, "A", "limit 4", "none 4"},
			{0, "B", "limit 1", "none 1"},
			{0, "Redis", "limit 3", ""},
			{0, "A", "", "none 3"},
		}},
		{"lost state: the lowest limit is restored by a process that knows it", []call{
			{0, "A", "limit 4", "none 4"},
			{0, "B", "limit 1", "none 1"},
			{0, "A", "", "none 1"},
			{2000, "Redis", "flush", ""},
			{2000, "A", "", "none 1"},
		}},
		{"lost state: closed until every permit that may be out has expired", []call{
			{0, "A", "", "none"},
			{0, "B", "", "none"},
			{2000, "Redis", "flush", ""},
			{2000, "A", "reserve 1", "again 4950"}, // first permit at 5000
			{3950, "B", "urgent 1", "5000"},
			{4950, "A", "reserve 1", "5000"},
		}},
		{"lost state, created again by a process that does not know of the loss", []call{
			{0, "A", "", "none"},
			{2000, "Redis", "flush", ""},
			{2000, "C", "", "none"}, // its first permit would be at 3040
			{2100, "A", "", "none"},
			{3950, "C", "urgent 1", "5000"},
		}},
		{"lost tokens are lost state", []call{
			{0, "A", "", "none"},
			{2000, "A", "reserve 1", "2000"},
			{2000, "Redis", "forget tokens", ""},
			{2000, "B", "urgent 1", "again 4950"},
			{3950, "B", "urgent 1", "5000"},
		}},
		{"old data is lost state", []call{
			{0, "A", "", "none"},
			{2000, "Redis", "save", ""},
			{2000, "A", "reserve 1", "2000"},
			{2100, "Redis", "restore", ""},
			{2100, "A", "used 1 100, urgent 2", "again 5050"},
			{4050, "A", "urgent 2", "5100"},
		}},
		{"data of another server is lost state, for one more second", []call{
			{0, "A", "", "none"},
			{2000, "A", "reserve 1", "2000"},
			{2100, "Redis", "server 7", ""},
			{2100, "B", "urgent 1", "again 6050"},
			{3000, "A", "used 1 1000", "none"},
			{5050, "B", "urgent 1", "6100"},
		}},
		{"data of an older release, without a server, is not lost", []call{
			{0, "A", "", "none"},
			{2000, "Redis", "server 0", ""},
			{2100, "B", "reserve 1", "2100"},
		}},
		{"a use that Redis has lost counts when it is reported", []call{
			{0, "A", "", "none"},
			{2000, "Redis", "flush", ""},
			{2000, "A", "", "none"},
			{5150, "A", "used 1 100, used 2 90, urgent 3", "6090"},
		}},
		{"the clock of Redis is set back: tokens out return after the longest time", []call{
			{0, "A", "", "none"},
			{100000, "A", "reserve 1", "100000"},
			{100000, "A", "used 1 0, reserve 2", "100005"},
			{100000, "A", "used 2 0", "none"},
			{100000, "Redis", "clock 50000", ""},
			{50000, "A", "urgent 3", "again 52990"},
			{51960, "A", "urgent 3", "53040"},
			{53040, "A", "used 3 0, urgent 4", "53045"},
		}},
	} {
		t.Run(scenario.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newScenario(t)
				for _, c := range scenario.calls {
					w.until(c.at)
					if c.process == "Redis" {
						w.change(c.text)
						continue
					}
					if got := w.call(c.process, c.text); got != c.want {
						t.Errorf("at %d, request %q of %s: got %q, want %q", c.at, c.text, c.process, got, c.want)
					}
				}
			})
		})
	}
}

// scenario runs a scenario of TestBucketScript on the embedded Redis.
type scenario struct {
	t         *testing.T
	redis     *embedded.Server
	client    *redis.Client
	processes map[string]*bucket
	began     time.Time     // by the local clock
	back      time.Duration // how far the clock of Redis was set back
	saved     map[string]string
}

func newScenario(t *testing.T) *scenario {
	m := embedded.New()
	client := redis.NewClient(&redis.Options{
		Dialer:                   func(context.Context, string, string) (net.Conn, error) { return m.Dial() },
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	t.Cleanup(func() {
		client.Close()
		m.Close()
	})
	return &scenario{t: t, redis: m, client: client, processes: map[string]*bucket{}, began: time.Now()}
}

func millis(n int) time.Duration { return time.Duration(n) * time.Millisecond }

// until sleeps until the clock of Redis shows at.
func (w *scenario) until(at int) {
	time.Sleep(time.Until(w.began.Add(millis(at) + w.back)))
	w.redis.SetTime(time.UnixMicro(1_800_000_000_123_457).Add(millis(at)))
}

// change changes Redis: data, clock or server.
func (w *scenario) change(what string) {
	name, argument, _ := strings.Cut(what, " ")
	switch name {
	case "urgent_streak", "limit", "server":
		w.client.HSet(w.t.Context(), "tokens:meta", name, argument)
	case "flush":
		w.client.FlushAll(w.t.Context())
	case "forget":
		w.client.Del(w.t.Context(), argument)
	case "clock":
		at, _ := strconv.Atoi(argument)
		w.back = time.Since(w.began) - millis(at)
	case "save":
		w.saved = w.client.HGetAll(w.t.Context(), "tokens:meta").Val()
	case "restore":
		w.client.FlushAll(w.t.Context())
		w.client.HSet(w.t.Context(), "tokens:meta", w.saved)
	default:
		w.t.Fatalf("unknown change of Redis: %q", what)
	}
}

// call makes one call for a process: "used NUMBER AGE", "back NUMBER", "leave", "spread", "read", "limit N" of its
// configuration, "reserve NUMBER [COUNT]", "urgent NUMBER", or several of these.
func (w *scenario) call(process, text string) string {
	b := w.processes[process]
	if b == nil {
		b = &bucket{
			redis: w.client, key: "tokens", name: process, limit: 2,
			margin: millis(40), validity: millis(500), spacing: millis(5),
		}
		w.processes[process] = b
	}
	var req request
	for part := range strings.SplitSeq(text, ", ") {
		f := strings.Fields(part)
		var n [3]int
		for i := range f {
			n[i], _ = strconv.Atoi(f[i])
		}
		switch {
		case len(f) == 0:
		case f[0] == "used":
			req.reports = append(req.reports, report{id: b.id(uint64(n[1])), sent: time.Now().Add(-millis(n[2]))})
		case f[0] == "back":
			req.reports = append(req.reports, report{id: b.id(uint64(n[1]))})
		case f[0] == "leave":
			req.leave = true
		case f[0] == "limit":
			b.limit = n[1]
		case f[0] == "read":
			b.follows = true
		case f[0] == "spread":
			req.spread = true
		case f[0] == "reserve", f[0] == "urgent":
			req.urgent, req.number, req.count = f[0] == "urgent", uint64(n[1]), max(1, n[2])
		default:
			w.t.Fatalf("unknown request: %q", text)
		}
	}
	a, err := b.call(w.t.Context(), req)
	if err != nil {
		w.t.Fatalf("request %q of %s: %v", text, process, err)
	}
	local := func(t time.Time) string { return fmt.Sprint((t.Sub(w.began) - w.back).Milliseconds()) }
	var got []string
	for _, p := range a.permits {
		got = append(got, local(p.at))
	}
	b.follows = false
	if len(got) == 0 && !a.again.IsZero() {
		got = append(got, "again "+local(a.again))
	} else if len(got) == 0 {
		got = append(got, "none")
	}
	if a.currentLimit != 2 {
		got = append(got, fmt.Sprint(a.currentLimit))
	}
	return strings.Join(got, " ")
}
