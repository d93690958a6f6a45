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
		{"of nothing it is 0", nil, 50, 0},
		{"of one value it is that", []float64{7}, 99, 7},
		{"half of a hundred", hundred, 50, 50},
		{"ninety-nine of a hundred", hundred, 99, 99},
		{"of fifty values p99 is the last", hundred[:50], 99, 100},
		{"between two values it is the upper one", []float64{1, 2, 3}, 50, 2},
		{"p0 is the first", hundred, 0, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := percentile(test.values, test.p); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestFloor(t *testing.T) {
	for n, want := range map[int]time.Duration{1: 0, 20: 0, 21: time.Second, 40: time.Second, 600: 29 * time.Second} {
		if got := floor(n, 20); got != want {
			t.Errorf("floor of %d: got %v, want %v", n, got, want)
		}
	}
}

func TestCount(t *testing.T) {
	if got := count(at(1, 1, 2, 3), at(1)[0], at(3)[0]); got != 3 {
		t.Errorf("got %d, want 3: the first moment belongs to it and the last does not", got)
	}
}

func TestPace(t *testing.T) {
	var even, bunched []float64
	for i := range 400 {
		even = append(even, float64(i)/20)
		bunched = append(bunched, float64(i/20))
	}
	for name, times := range map[string][]float64{"even": even, "in bunches": bunched} {
		for _, from := range []float64{1.01, 1.5, 1.99} {
			if got := pace(at(times...), at(from)[0], at(from + 12)[0]); math.Abs(got-20) > 0.1 {
				t.Errorf("20 a second, %s, from %v s on: got %v", name, from, got)
			}
		}
	}
}
