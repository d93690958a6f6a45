package main

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func all() []string {
	var faults []string
	for _, r := range rhythms {
		faults = append(faults, r.fault)
	}
	return faults
}

func TestSchedule(t *testing.T) {
	const beat, end = 10 * time.Second, time.Hour
	events := schedule(42, all(), beat, end)
	only := func(fault string, events []event) []event {
		return slices.DeleteFunc(slices.Clone(events), func(e event) bool { return e.fault != fault })
	}
	allow := cmp.AllowUnexported(event{})

	t.Run("is the same for the same seed and another one for another seed", func(t *testing.T) {
		if diff := cmp.Diff(events, schedule(42, all(), beat, end), allow); diff != "" {
			t.Error(diff)
		}
		if cmp.Equal(events, schedule(43, all(), beat, end), allow) {
			t.Error("two seeds have one schedule")
		}
	})

	t.Run("strikes with one fault at the same times whatever others are on", func(t *testing.T) {
		for _, r := range rhythms {
			if diff := cmp.Diff(only(r.fault, events), schedule(42, []string{r.fault}, beat, end), allow); diff != "" {
				t.Errorf("%s: %s", r.fault, diff)
			}
		}
	})

	t.Run("kills to the beat", func(t *testing.T) {
		for i, e := range only(faultKill, events) {
			if e.at != time.Duration(i+1)*beat {
				t.Fatalf("kill %d is at %s", i+1, e.at)
			}
		}
	})

	t.Run("keeps to each fault's rhythm, in order, and ends", func(t *testing.T) {
		if !slices.IsSortedFunc(events, func(a, b event) int { return int(a.at - b.at) }) {
			t.Error("the events are not in order")
		}
		for _, r := range rhythms {
			mine := only(r.fault, events)
			if n, want := float64(len(mine)), float64(end/beat)/r.every; n < 0.8*want-1 || n > 1.2*want+1 {
				t.Errorf("%s strikes %v times an hour, about %v is right", r.fault, n, want)
			}
			for _, e := range mine {
				if beats := e.lasts.Seconds() / beat.Seconds(); beats < r.min || beats > r.max || e.at >= end || e.which < 0 || e.which >= 1 {
					t.Errorf("%+v", e)
				}
			}
		}
	})
}

func TestParseFaults(t *testing.T) {
	if got, err := parseFaults("kill, redis"); err != nil || !slices.Equal(got, []string{faultKill, faultRedis}) {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := parseFaults(""); err != nil || got != nil {
		t.Errorf("of none: %q, %v", got, err)
	}
	if _, err := parseFaults("kill,earthquake"); err == nil {
		t.Error("an earthquake was accepted")
	}
}
