package main

import (
	"math"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// at returns times that are the given seconds after noon.
func at(seconds ...float64) (times []time.Time) {
	for _, s := range seconds {
		times = append(times, noon.Add(time.Duration(s*1e9)))
	}
	return times
}

func TestPercentile(t *testing.T) {
	var hundred []float64
	for i := 100; i >= 1; i-- {
		hundred = append(hundred, float64(i))
	}
	for _, test := range []struct {
		name   string
		values []float64
		p      float64
		want   float64
	}{
		{"no values", nil, 50, 0},
		{"one value", []float64{7}, 99, 7},
		{"p50 of a hundred", hundred, 50, 50},
		{"p99 of a hundred", hundred, 99, 99},
		{"p99 of fifty is the largest", hundred[:50], 99, 100},
		{"between two values", []float64{1, 2, 3}, 50, 2},
		{"p0 is the smallest", hundred, 0, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := percentile(test.values, test.p); got != test.want {
				t.Errorf("percentile() = %v, want %v", got, test.want)
			}
		})
	}
}

func TestFloor(t *testing.T) {
	for n, want := range map[int]time.Duration{1: 0, 20: 0, 21: time.Second, 40: time.Second, 600: 29 * time.Second} {
		if got := floor(n, 20); got != want {
			t.Errorf("floor(%d, 20) = %v, want %v", n, got, want)
		}
	}
}

func TestCount(t *testing.T) {
	if got := count(at(1, 1, 2, 3), at(1)[0], at(3)[0]); got != 3 {
		t.Errorf("count() = %d, want 3: the start is included, the end is not", got)
	}
}

func TestPace(t *testing.T) {
	var even, bunched []float64
	for i := range 400 {
		even = append(even, float64(i)/20)
		bunched = append(bunched, float64(i/20))
	}
	for name, times := range map[string][]float64{"even": even, "bunched": bunched} {
		for _, from := range []float64{1.01, 1.5, 1.99} {
			if got := pace(at(times...), at(from)[0], at(from + 12)[0]); math.Abs(got-20) > 0.1 {
				t.Errorf("pace() of 20 requests a second, %s, from %v s on = %v, want 20", name, from, got)
			}
		}
	}
}
