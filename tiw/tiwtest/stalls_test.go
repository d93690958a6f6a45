package tiwtest_test

import (
	"testing"
	"time"

	"tiwsnap/tiw/tiwtest"
)

func TestOverLimit(t *testing.T) {
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	var requests []tiwtest.Request
	for _, s := range []float64{1, 1.5, 2.1, 2.4, 3.5} {
		requests = append(requests, tiwtest.Request{AtNs: noon.Add(time.Duration(s * 1e9)).UnixNano()})
	}
	for _, test := range []struct {
		name   string
		stalls []tiwtest.Stall
		want   int
	}{
		{"three requests within a second exceed the limit", nil, 1},
		{"they do not if a stall delayed the first one", []tiwtest.Stall{{At: 1.3, Took: 0.2}}, 0},
		{"a stall that is too short changes nothing", []tiwtest.Stall{{At: 1.45, Took: 0.05}}, 1},
		{"a stall before the first one changes nothing", []tiwtest.Stall{{At: 1.2, Took: 0.2}}, 1},
		{"a stall after the first one changes nothing", []tiwtest.Stall{{At: 1.6, Took: 0.3}}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := tiwtest.OverLimit(requests, 2, noon, test.stalls); got != test.want {
				t.Errorf("OverLimit() = %d, want %d", got, test.want)
			}
		})
	}
}
