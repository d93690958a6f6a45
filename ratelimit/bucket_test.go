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

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// TestBucketStories tells what the script answers, call by call, on a clock
// that stands still in between. All numbers are milliseconds since the start
// of the story. The bucket of the stories has 2 tokens that stay out for
// 1010 after a use; permits are valid for 500 and at least 5 apart. So nothing
// is reserved more than 1110 ahead and no token is ever out for more than 2620.
func TestBucketStories(t *testing.T) {
	type call struct {
		at   int
		by   string // a process, or Redis where something happens to that
		says string
		want string // instant of the permit or "none", then the effective limit where it is not 2
	}
	for _, story := range []struct {
		name  string
		calls []call
	}{
		{"a new bucket is as if it had just been emptied", []call{
			{0, "A", "reserve a", "1010"},
			{0, "B", "reserve b", "1015"},
		}},
		{"a second after its making a new bucket gives at once, permits spaced", []call{
			{0, "A", "", "none"},
			{2000, "A", "reserve a", "2000"},
			{2000, "B", "reserve b", "2005"},
		}},
		{"a token comes back a second and the margin after its use", []call{
			{0, "A", "", "none"},
			{2000, "A", "reserve a", "2000"},
			{2001, "A", "used a 1, reserve b", "2005"},
			{2007, "A", "used b 2, reserve c", "3010"}, // a was used at 2000
			{3011, "A", "used c 1, reserve d", "3015"}, // b was used at 2005
		}},
		{"a late use counts from when it was", []call{
			{0, "A", "", "none"},
			{2000, "A", "reserve a", "2000"},
			{2400, "A", "used a 50, reserve b", "2400"},
			{2401, "A", "used b 0, reserve c", "3360"},
		}},
		{"an unreported permit is out until no use of it can matter any more", []call{
			{0, "A", "", "none"},
			{2000, "dead", "reserve x", "2000"}, // 2000 + 500 + 1010
			{2005, "A", "reserve a", "2005"},
			{2005, "A", "used a 0, reserve b", "3015"},
			{3015, "A", "used b 0, reserve c", "3510"},
		}},
		{"a report is believed, even that of a use for which it was too late", []call{
			{0, "A", "", "none"},
			{2000, "A", "reserve a", "2000"},
			{2001, "B", "reserve b", "2005"},
			{3000, "A", "used a 0", "none"}, // it was due by 2500
			{3000, "B", "used b 700, reserve c", "3310"},
			{3310, "B", "used c 0, reserve d", "4010"},
		}},
		{"a permit that was not used comes back at once", []call{
			{0, "A", "", "none"},
			{2000, "A", "reserve a", "2000"},
			{2000, "A", "used a 0, reserve b", "2005"},
			{2000, "A", "back b, reserve c", "2010"},
		}},
		{"the same call twice reserves once", []call{
			{0, "A", "", "none"},
			{2000, "A", "reserve a", "2000"},
			{2000, "B", "reserve b", "2005"},
			{2100, "A", "reserve a", "2100"},
		}},
		{"a cut counts once in a quarter of a second and heals by one a second", []call{
			{0, "A", "", "none"},
			{2000, "A", "throttled", "none 1"},
			{2100, "A", "throttled, reserve a", "2100 1"},
			{2100, "A", "used a 0, reserve b", "3110 1"},
			{2999, "A", "", "none 1"},
			{3000, "A", "", "none"},
			{3000, "A", "throttled", "none 1"},
			{9000, "A", "", "none"},
		}},
		{"who is turned away goes before who was just served", []call{
			{0, "A", "", "none"},
			{2000, "A", "reserve a", "2000"},
			{2000, "B", "reserve b", "2005"},
			{2000, "C", "reserve c", "none"}, // would be at 3510
			{2001, "A", "used a 1, reserve a2", "none"},
			{2300, "C", "reserve c", "3010"},
			{2400, "A", "reserve a2", "none"},
		}},
		{"lost state: shut until all that may be out is history", []call{
			{0, "A", "", "none"},
			{0, "B", "", "none"},
			{2000, "Redis", "flush", ""},
			{2000, "A", "reserve a", "none"}, // opens at 4620
			{3510, "B", "reserve b", "4620"},
			{3515, "C", "reserve c", "4625"},
		}},
		{"lost state, and the one who makes it anew knows of none", []call{
			{0, "A", "", "none"},
			{2000, "Redis", "flush", ""},
			{2000, "C", "", "none"}, // would open at 3010
			{2100, "A", "", "none"},
			{3600, "C", "reserve c", "4620"},
		}},
		{"lost tokens are lost state", []call{
			{0, "A", "", "none"},
			{2000, "A", "reserve a", "2000"},
			{2000, "Redis", "forget tokens", ""},
			{2000, "B", "reserve b", "none"},
			{3510, "B", "reserve b", "4620"},
		}},
		{"old data is lost state", []call{
			{0, "A", "", "none"},
			{2000, "Redis", "save", ""},
			{2000, "A", "reserve a", "2000"},
			{2100, "Redis", "restore", ""},
			{2100, "A", "used a 100, reserve b", "none"},
			{3610, "A", "reserve b", "4720"},
		}},
		{"a use that Redis has forgotten counts when it is reported", []call{
			{0, "A", "", "none"},
			{2000, "Redis", "flush", ""},
			{2000, "A", "", "none"},
			{4700, "A", "used x 100, used y 90, reserve a", "5610"},
		}},
		{"the clock of Redis set back: tokens out are out for as long as any can be", []call{
			{0, "A", "", "none"},
			{100000, "A", "reserve a", "100000"},
			{100000, "A", "used a 0, reserve b", "100005"},
			{100000, "A", "used b 0", "none"},
			{100000, "Redis", "clock 50000", ""},
			{50000, "A", "reserve c", "none"}, // free at 52620
			{51510, "A", "reserve c", "52620"},
			{52620, "A", "used c 0, reserve d", "52625"},
		}},
	} {
		t.Run(story.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newStory(t)
				for _, c := range story.calls {
					w.until(c.at)
					if c.by == "Redis" {
						w.happens(c.says)
						continue
					}
					if got := w.call(c.by, c.says); got != c.want {
						t.Errorf("at %d %s says %q: got %q, want %q", c.at, c.by, c.says, got, c.want)
					}
				}
			})
		})
	}
}

// storyWorld acts a story of TestBucketStories out, on miniredis.
type storyWorld struct {
	t         *testing.T
	redis     *miniredis.Miniredis
	client    *redis.Client
	processes map[string]*bucket
	began     time.Time     // local
	back      time.Duration // how far the clock of Redis was set back
	saved     map[string]string
}

func newStory(t *testing.T) *storyWorld {
	m := miniredis.NewMiniRedis()
	client := redis.NewClient(&redis.Options{
		Dialer:                   func(context.Context, string, string) (net.Conn, error) { return m.Dial() },
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	t.Cleanup(func() {
		client.Close()
		m.Close()
	})
	return &storyWorld{t: t, redis: m, client: client, processes: map[string]*bucket{}, began: time.Now()}
}

func millis(n int) time.Duration { return time.Duration(n) * time.Millisecond }

// until lets the time come when the clock of Redis shows at.
func (w *storyWorld) until(at int) {
	time.Sleep(time.Until(w.began.Add(millis(at) + w.back)))
	w.redis.SetTime(time.UnixMicro(1_800_000_000_123_457).Add(millis(at)))
}

// happens does to Redis what the story says.
func (w *storyWorld) happens(what string) {
	name, argument, _ := strings.Cut(what, " ")
	switch name {
	case "flush":
		w.redis.FlushAll()
	case "forget":
		w.redis.Del(argument)
	case "clock":
		at, _ := strconv.Atoi(argument)
		w.back = time.Since(w.began) - millis(at)
	case "save":
		w.saved = w.client.HGetAll(w.t.Context(), "meta").Val()
	case "restore":
		w.redis.FlushAll()
		w.client.HSet(w.t.Context(), "meta", w.saved)
	default:
		w.t.Fatalf("the story is wrong: %q", what)
	}
}

// call makes one call for a process: "used ID AGE", "back ID", "throttled",
// "reserve ID", or several of these.
func (w *storyWorld) call(process, says string) string {
	b := w.processes[process]
	if b == nil {
		b = &bucket{
			redis: w.client, keys: []string{"tokens", "meta"}, limit: 2,
			keep: millis(1010), validity: millis(500), spacing: millis(5),
		}
		w.processes[process] = b
	}
	var req request
	for part := range strings.SplitSeq(says, ", ") {
		switch f := strings.Fields(part); {
		case len(f) == 0:
		case f[0] == "used":
			age, _ := strconv.Atoi(f[2])
			req.reports = append(req.reports, report{f[1], time.Now().Add(-millis(age))})
		case f[0] == "back":
			req.reports = append(req.reports, report{id: f[1]})
		case f[0] == "throttled":
			req.throttled = true
		case f[0] == "reserve":
			req.reserve = f[1]
		default:
			w.t.Fatalf("the story is wrong: %q", says)
		}
	}
	a, err := b.call(w.t.Context(), req)
	if err != nil {
		w.t.Fatalf("%s says %q: %v", process, says, err)
	}
	got := "none"
	if a.permit != nil {
		got = fmt.Sprint((a.permit.at.Sub(w.began) - w.back).Milliseconds())
	}
	if a.effective != 2 {
		got += fmt.Sprint(" ", a.effective)
	}
	return got
}
