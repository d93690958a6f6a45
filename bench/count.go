package main

import (
	"math"
	"slices"
	"time"

	"tiwsnap/tiw/tiwtest"
)

// percentile is the least of the values that p percent of them do not exceed,
// or 0 where there are none.
func percentile(values []float64, p float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	i := int(math.Ceil(p/100*float64(len(sorted)))) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}

// floor is the least time from the first to the last of n requests at limit a
// second.
func floor(n, limit int) time.Duration {
	return time.Duration((n-1)/limit) * time.Second
}

// count is how many of the times, which are sorted, are in [from, to).
func count(times []time.Time, from, to time.Time) int {
	return search(times, to) - search(times, from)
}

func search(times []time.Time, at time.Time) int {
	i, _ := slices.BinarySearchFunc(times, at, time.Time.Compare)
	return i
}

// pace is how many of the times, which are sorted, there are a second in
// [from, to), which is longer than a second. It is the mean over all beginnings
// in the first second, so that it does not matter whether the first or the last
// bunch of requests lies just inside or outside.
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

// timesOf is when the calls arrived that keep lets through.
func timesOf(calls []tiwtest.Request, keep func(tiwtest.Request) bool) (times []time.Time) {
	for _, c := range calls {
		if keep(c) {
			times = append(times, time.Unix(0, c.AtNs))
		}
	}
	return times
}

func anyCall(tiwtest.Request) bool    { return true }
func accepted(c tiwtest.Request) bool { return c.Outcome == tiwtest.OK }
func roomsFrom(first, n uint64) func(tiwtest.Request) bool {
	return func(c tiwtest.Request) bool { return c.RoomId >= first && c.RoomId < first+n }
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1000 }

// percent is a part of a whole in percent, 0 where there is none.
func percent(part, whole float64) float64 {
	if whole == 0 {
		return 0
	}
	return 100 * part / whole
}
