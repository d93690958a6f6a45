package main

import (
	"math"
	"slices"
	"time"

	"tiwsnap/tiw/tiwtest"
)

// percentile returns the smallest value that p percent of the values do not exceed, or 0 if there are none.
func percentile(values []float64, p float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	i := int(math.Ceil(p/100*float64(len(sorted)))) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}

// floor returns the shortest possible time from the first to the last of n requests at rate a second.
func floor(n, rate int) time.Duration {
	return time.Duration((n-1)/rate) * time.Second
}

// count returns how many of the sorted times are in [from, to).
func count(times []time.Time, from, to time.Time) int {
	return search(times, to) - search(times, from)
}

func search(times []time.Time, at time.Time) int {
	i, _ := slices.BinarySearchFunc(times, at, time.Time.Compare)
	return i
}

// pace returns how many of the sorted times there are a second in [from, to), which must be longer than a second. It is
// the mean over windows that begin in the first second, so that a burst of requests at either end matters little.
func pace(times []time.Time, from, to time.Time) float64 {
	const beginnings = 100
	length := to.Sub(from) - time.Second
	n := 0
	for i := range beginnings {
		begin := from.Add(time.Duration(i) * time.Second / beginnings)
		n += count(times, begin, begin.Add(length))
	}
	return float64(n) / beginnings / length.Seconds()
}

// timesOf returns the arrival times of the requests that keep accepts.
func timesOf(calls []tiwtest.Request, keep func(tiwtest.Request) bool) (times []time.Time) {
	for _, c := range calls {
		if keep(c) {
			times = append(times, time.Unix(0, c.AtNs))
		}
	}
	return times
}

func anyRequest(tiwtest.Request) bool { return true }
func accepted(c tiwtest.Request) bool { return c.Outcome == tiwtest.OK }
func roomsFrom(first, n uint64) func(tiwtest.Request) bool {
	return func(c tiwtest.Request) bool { return c.RoomId >= first && c.RoomId < first+n }
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1000 }

// percent returns a part of a whole in percent, or 0 if the whole is 0.
func percent(part, whole float64) float64 {
	if whole == 0 {
		return 0
	}
	return 100 * part / whole
}
