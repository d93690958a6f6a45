package ratelimit_test

import (
	"strings"
	"testing"
	"time"

	"tiwsnap/ratelimit"
)

func TestOptions(t *testing.T) {
	_, err := ratelimit.New(ratelimit.Options{Limit: 10001, Validity: time.Millisecond, Margin: -1})
	want := strings.Join([]string{
		"rate limiter: option Redis is missing",
		"option Key is missing",
		"option Limit is 10001, it must be from 1 to 10000",
		"option Margin is -1ns, it must be from 1µs to 100ms",
		"option Validity is 1ms, it must be from 200ms to 10s",
	}, "\n")
	if err == nil || err.Error() != want {
		t.Errorf("New(): error =\n%v\nwant:\n%s", err, want)
	}
}
