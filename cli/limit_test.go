package cli

import (
	"strings"
	"testing"

	"tiwsnap/redistest"
)

func TestLimit(t *testing.T) {
	redisURL := redistest.URL(t)
	environ := []string{"TIWSNAP_REDIS_URL=" + redisURL}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"limit"}, "in force                  20\n"},
		{[]string{"limit", "7"}, "in force                  7\n"},
		{[]string{"limit"}, "available rate            7\n"},
		{[]string{"limit", "-o", "json"}, "\"limit\": 7,\n"},
		{[]string{"limit", "default"}, "in force                  20\n"},
	} {
		if out, errs, code := tiwsnap(t, environ, c.args...); code != exitOK || !strings.Contains(out, c.want) {
			t.Errorf("%q: exit code %d, %s%s", c.args, code, out, errs)
		}
	}
	if _, errs, code := tiwsnap(t, environ, "limit", "0"); code != exitUsage || !strings.Contains(errs, "from 1 to 10000") {
		t.Errorf("limit 0: exit code %d, %s", code, errs)
	}
}
