package main

import (
	"math"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// at is times so many seconds after noon.
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

func TestSeconds(t *testing.T) {
	times := at(0, 0.5, 0.9, 1.4, 1.5, 3.2)
	for _, test := range []struct {
		name                string
		from, to            float64
		most, least, counts int
	}{
		{"a second is half open", 0, 2, 3, 2, 2},
		{"a fuller second lies across two of the counted ones", 0.5, 2.5, 3, 1, 1},
		{"what lies outside does not count", 0.95, 3, 2, 0, 0},
		{"where there is no whole second there is no emptiest", 0, 0.9, 2, -1, -1},
		{"what begins after the last time is empty", 3.3, 5, 0, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			from, to := at(test.from)[0], at(test.to)[0]
			if got := most(times, from, to); got != test.most {
				t.Errorf("most: got %d, want %d", got, test.most)
			}
			if got := least(times, from, to); got != test.least {
				t.Errorf("least: got %d, want %d", got, test.least)
			}
			if got := leastCounted(times, from, to); got != test.counts {
				t.Errorf("least of the counted ones: got %d, want %d", got, test.counts)
			}
		})
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
