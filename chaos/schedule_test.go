package main

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestSchedule(t *testing.T) {
	const rooms, beat, end = 1000, 10 * time.Second, time.Hour
	events := schedule(42, allFaults(), rooms, beat, end)
	only := func(fault string, events []event) []event {
		return slices.DeleteFunc(slices.Clone(events), func(e event) bool { return e.fault != fault })
	}
	allow := cmp.AllowUnexported(event{})

	t.Run("depends on the seed alone", func(t *testing.T) {
		if diff := cmp.Diff(events, schedule(42, allFaults(), rooms, beat, end), allow); diff != "" {
			t.Errorf("two schedules of one seed differ:\n%s", diff)
		}
		if cmp.Equal(events, schedule(43, allFaults(), rooms, beat, end), allow) {
			t.Error("two seeds have the same schedule")
		}
	})

	t.Run("the times of a fault do not depend on the other faults", func(t *testing.T) {
		for _, fault := range allFaults() {
			alone := schedule(42, []string{fault}, rooms, beat, end)
			if diff := cmp.Diff(only(fault, events), alone, allow, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s alone has another schedule:\n%s", fault, diff)
			}
		}
	})

	t.Run("kills follow the beat", func(t *testing.T) {
		for i, e := range only(faultKill, events) {
			if e.at != time.Duration(i+1)*beat {
				t.Fatalf("kill %d is at %s, want %s", i+1, e.at, time.Duration(i+1)*beat)
			}
		}
	})

	t.Run("rhythm, order and end", func(t *testing.T) {
		if !slices.IsSortedFunc(events, func(a, b event) int { return int(a.at - b.at) }) {
			t.Error("the events are not sorted by time")
		}
		for _, r := range rhythms {
			own := only(r.fault, events)
			if n, want := float64(len(own)), float64(end/beat)/r.every; n < 0.8*want-1 || n > 1.2*want+1 {
				t.Errorf("%s strikes %v times an hour, want about %v", r.fault, n, want)
			}
			for _, e := range own {
				beats := e.lasts.Seconds() / beat.Seconds()
				if beats < r.min || beats > r.max || e.at >= end || e.which < 0 || e.which >= 1 {
					t.Errorf("the event %+v does not match the rhythm %+v", e, r)
				}
			}
		}
	})
}

func TestOnsets(t *testing.T) {
	const rooms, beat = 1000, 10 * time.Second
	for seed := range uint64(50) {
		var struck []string
		for _, e := range schedule(seed, allFaults(), rooms, beat, time.Hour) {
			if e.after == 0 {
				continue
			}
			o := onsets[len(struck)]
			struck = append(struck, e.fault)
			share, beats := float64(e.after)/rooms, e.lasts.Seconds()/beat.Seconds()
			if e.fault != o.fault || share < o.from-0.001 || share > o.to ||
				beats < o.min || beats > o.max || e.which < 0 || e.which >= 1 {
				t.Errorf("seed %d: the event %+v does not match the onset %+v", seed, e, o)
			}
		}
		if want := []string{faultOddProbe, faultOutage, faultStorm, faultNoCreate}; !slices.Equal(struck, want) {
			t.Fatalf("seed %d: faults that strike once are %q, want %q", seed, struck, want)
		}
	}
}

func TestParseFaults(t *testing.T) {
	if got, err := parseFaults("kill, redis"); err != nil || !slices.Equal(got, []string{faultKill, faultRedis}) {
		t.Errorf("parseFaults(kill, redis) = %q, %v", got, err)
	}
	if got, err := parseFaults(""); err != nil || got != nil {
		t.Errorf("parseFaults of an empty text = %q, %v", got, err)
	}
	if _, err := parseFaults("kill,earthquake"); err == nil {
		t.Error("parseFaults accepts the unknown fault earthquake")
	}
}
