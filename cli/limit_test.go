package cli

import (
	"context"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/keys"
	"tiwsnap/internal/redistest"
	"tiwsnap/ratelimit"
)

func TestLimit(t *testing.T) {
	t.Parallel()
	redisURL := redistest.URL(t)
	environ := []string{"TIWSNAP_REDIS_URL=" + redisURL}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"limit"}, "current limit             20\n"},
		{[]string{"limit", "7"}, "current limit             7\n"},
		{[]string{"limit"}, "available rate            7\n"},
		{[]string{"limit", "-o", "json"}, "\"limit\": 7,\n"},
		{[]string{"limit", "default"}, "current limit             20\n"},
	} {
		if out, errs, code := tiwsnap(t, environ, c.args...); code != exitOK || !strings.Contains(out, c.want) {
			t.Errorf("%q: exit code %d, %s%s", c.args, code, out, errs)
		}
	}
	for n, warns := range map[string]bool{"20": false, "21": true} {
		_, errs, code := tiwsnap(t, environ, "limit", n)
		if got := strings.Contains(errs, "Tencent allows 20 requests per second"); code != exitOK || got != warns {
			t.Errorf("limit %s: exit code %d, warning %t, want %t: %s", n, code, got, warns, errs)
		}
	}
	if _, errs, code := tiwsnap(t, environ, "limit", "0"); code != exitUsage ||
		!strings.Contains(errs, "from 1 to 10000") {
		t.Errorf("limit 0: exit code %d, %s", code, errs)
	}
}

// Commands report that two workers are configured with different limits.
func TestDifferentLimitsAreReported(t *testing.T) {
	redisURL := redistest.URL(t)
	environ := []string{"TIWSNAP_REDIS_URL=" + redisURL}
	o, err := redis.ParseURL(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(o)
	t.Cleanup(func() { client.Close() })
	for _, limit := range []int{40, 20} {
		l, err := ratelimit.New(ratelimit.Options{
			Redis: client, Key: keys.Default.Limit("CreateSnapshotTask"), Limit: limit,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close(context.WithoutCancel(t.Context())) })
		if _, err := l.State(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	checkWarning := func(applies string) {
		t.Helper()
		want := "workers have different rate limits, 20 to 40 requests per second: " + applies + "; "
		for _, args := range [][]string{{"limit"}, {"status"}, {"doctor", "--skip-tiw"}} {
			if out, errs, _ := tiwsnap(t, environ, args...); !strings.Contains(out+errs, want) {
				t.Errorf("%q does not print %q:\n%s%s", args, want, out, errs)
			}
		}
	}
	checkWarning("20 applies")
	if out, errs, code := tiwsnap(t, environ, "limit", "30"); code != exitOK {
		t.Errorf("limit 30: exit code %d, %s%s", code, out, errs)
	}
	checkWarning("30 applies, as set with tiwsnap limit")
}
