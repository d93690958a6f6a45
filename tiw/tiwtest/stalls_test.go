package tiwtest_test

import (
	"testing"
	"time"

	"tiwsnap/tiw/tiwtest"
)

func TestOver(t *testing.T) {
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	var calls []tiwtest.Request
	for _, s := range []float64{1, 1.5, 2.1, 2.4, 3.5} {
		calls = append(calls, tiwtest.Request{AtNs: noon.Add(time.Duration(s * 1e9)).UnixNano()})
	}
	for _, test := range []struct {
		name   string
		stalls []tiwtest.Stall
		want   int
	}{
		{"three in less than a second are too many", nil, 1},
		{"they are not if the first of them may have come earlier", []tiwtest.Stall{{At: 1.3, Took: 0.2}}, 0},
		{"a stall that is too short explains nothing", []tiwtest.Stall{{At: 1.45, Took: 0.05}}, 1},
		{"a stall before the first of them explains nothing", []tiwtest.Stall{{At: 1.2, Took: 0.2}}, 1},
		{"a stall after the first of them explains nothing", []tiwtest.Stall{{At: 1.6, Took: 0.3}}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := tiwtest.OverLimit(calls, 2, noon, test.stalls); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}
