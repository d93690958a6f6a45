package schedule_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"tiwsnap/internal/needs"
	"tiwsnap/schedule"
)

// cronCase is a cron expression and its meaning, for an oracle that does not parse cron.
type cronCase struct {
	expr    string
	hours   []int // nil: every hour
	minutes []int
	day     func(time.Time) bool // matches calendar days; nil: every day
}

// steps returns lo, lo+step and so on, up to hi.
func steps(lo, hi, step int) (all []int) {
	for i := lo; i <= hi; i += step {
		all = append(all, i)
	}
	return all
}

// Daylight saving time starts and ends on Sundays, in Cairo on Fridays. If the change is at midnight, hours of the day
// before are repeated.
func isSunday(d time.Time) bool         { return d.Weekday() == 0 }
func isFridayOrSunday(d time.Time) bool { return d.Weekday() == 5 || isSunday(d) }
func isDayBefore(d time.Time) bool {
	return d.Weekday() >= 4 && slices.Contains([]time.Month{2, 4, 10}, d.Month())
}

var cronCases = []cronCase{
	{"0 0 * * *", []int{0}, []int{0}, nil},
	{"@daily", []int{0}, []int{0}, nil},
	{"15 0 * * *", []int{0}, []int{15}, nil},
	{"30 1 * * *", []int{1}, []int{30}, nil},
	{"0 2 * * *", []int{2}, []int{0}, nil},
	{"45 1-3 * * *", steps(1, 3, 1), []int{45}, nil},
	{"*/20 2 * * *", []int{2}, steps(0, 59, 20), nil},
	{"0 */2 * * fri,sun", steps(0, 23, 2), []int{0}, isFridayOrSunday},
	{"30 0-22 * * fri,sun", steps(0, 22, 1), []int{30}, isFridayOrSunday},
	{"0 3 * * sun", []int{3}, []int{0}, isSunday},
	{"0 3 * * 7", []int{3}, []int{0}, isSunday},
	{"@weekly", []int{0}, []int{0}, isSunday},
	{"@monthly", []int{0}, []int{0}, func(d time.Time) bool { return d.Day() == 1 }},
	{"0 1 13 * fri", []int{1}, []int{0}, func(d time.Time) bool { return d.Day() == 13 || d.Weekday() == 5 }},
	{"30 2 29 feb *", []int{2}, []int{30}, func(d time.Time) bool { return d.Month() == 2 && d.Day() == 29 }},
	{"0 18 L * *", []int{18}, []int{0}, func(d time.Time) bool { return d.AddDate(0, 0, 1).Day() == 1 }},
	{"0 18 * * 5#3", []int{18}, []int{0}, func(d time.Time) bool { return d.Weekday() == 5 && (d.Day()-1)/7 == 2 }},
	{"0 2 31 * *", []int{2}, []int{0}, func(d time.Time) bool { return d.Day() == 31 }},
	{"15,45 * * * sun", nil, []int{15, 45}, isSunday},
	{"15,45 * * feb,apr,oct thu-sat", nil, []int{15, 45}, isDayBefore},
	{"0 0-23 1-7 3,4,10,11 *", nil, []int{0},
		func(d time.Time) bool { return d.Day() <= 7 && slices.Contains([]int{3, 4, 10, 11}, int(d.Month())) }},
}

var zones = []string{
	"America/New_York", "America/Los_Angeles", "Europe/London", "Europe/Berlin",
	"Australia/Lord_Howe", // changes by half an hour
	"Asia/Shanghai",       // no changes
	"America/Sao_Paulo",   // changes at midnight, until 2019
	"Africa/Cairo",        // changes at midnight, since 2023
	"Africa/Casablanca",   // changes twice a year, around Ramadan
	"Pacific/Apia",        // changes until 2021
}

const wallClock = "2006-01-02 15:04"

// oracle returns every tick of c in a zone from begin to end. It searches for times at which the wall clock shows c.
func oracle(c cronCase, zone *time.Location, begin, end time.Time) (ticks []time.Time) {
	wall := func(t time.Time) string { return t.In(zone).Format(wallClock) }
	day := func(d time.Time) bool { return c.day == nil || c.day(d) }
	if c.hours == nil {
		for t := begin; t.Before(end); t = t.Add(15 * time.Minute) {
			if l := t.In(zone); slices.Contains(c.minutes, l.Minute()) && day(l) {
				ticks = append(ticks, t)
			}
		}
		return ticks
	}
	offsets := map[time.Duration]bool{}
	for t := begin; t.Before(end); t = t.Add(12 * time.Hour) {
		_, s := t.In(zone).Zone()
		offsets[time.Duration(s)*time.Second] = true
	}
	for d := begin.AddDate(0, 0, -2); d.Before(end.AddDate(0, 0, 2)); d = d.AddDate(0, 0, 1) {
		if !day(d) {
			continue
		}
		for _, h := range c.hours {
			for _, m := range c.minutes {
				shown := d.Add(time.Duration(h)*time.Hour + time.Duration(m)*time.Minute)
				want := shown.Format(wallClock)
				var found []time.Time
				for o := range offsets {
					if t := shown.Add(-o); wall(t) == want {
						found = append(found, t)
					}
				}
				for t := shown.Add(-15 * time.Hour); found == nil; t = t.Add(time.Minute) {
					if wall(t) > want {
						found = []time.Time{t} // the wall clock skips it: the tick is right after the gap
					}
				}
				if t := slices.MinFunc(found, time.Time.Compare); !t.Before(begin) && t.Before(end) {
					ticks = append(ticks, t)
				}
			}
		}
	}
	slices.SortFunc(ticks, time.Time.Compare)
	return slices.CompactFunc(ticks, time.Time.Equal)
}

func TestNextOverTenYears(t *testing.T) {
	needs.Time(t)
	begin, end := time.Date(2017, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, name := range zones {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			zone, err := time.LoadLocation(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range cronCases {
				spec, err := schedule.ParseSpec(c.expr, name)
				if err != nil {
					t.Errorf("ParseSpec(%q): %v", c.expr, err)
					continue
				}
				want := oracle(c, zone, begin, end)
				if len(want) < 2 {
					t.Errorf("%s: the oracle has %d ticks, want at least 2", c.expr, len(want))
				}
				var got []time.Time
				for tick := spec.Next(begin.Add(-time.Nanosecond)); tick.Before(end); tick = spec.Next(tick) {
					got = append(got, tick)
					if len(got) > len(want)+1000 {
						break
					}
				}
				compareTicks(t, c.expr, zone, want, got)

				// Next is right from any time between two ticks.
				for range 200 {
					i := 1 + rand.IntN(len(want)-1)
					gap := want[i].Sub(want[i-1])
					at := want[i].Add(-time.Duration(1 + rand.Int64N(int64(gap))))
					if got := spec.Next(at); !got.Equal(want[i]) {
						t.Errorf("%s: Next(%s) = %s, want %s", c.expr, at.In(zone), got.In(zone), want[i].In(zone))
					}
				}
			}
		})
	}
}

// compareTicks reports missing and extra ticks.
func compareTicks(t *testing.T, expr string, zone *time.Location, want, got []time.Time) {
	t.Helper()
	reported := 0
	report := func(what string, tick time.Time) {
		if reported++; reported < 5 {
			t.Errorf("%s: %s %s", expr, tick.In(zone), what)
		}
	}
	for i, j := 0, 0; i < len(want) || j < len(got); {
		switch {
		case j == len(got) || i < len(want) && want[i].Before(got[j]):
			report("is missing", want[i])
			i++
		case i == len(want) || got[j].Before(want[i]):
			report("is extra", got[j])
			j++
		default:
			i, j = i+1, j+1
		}
	}
	if !slices.IsSortedFunc(got, time.Time.Compare) {
		t.Errorf("%s: the ticks are not in ascending order", expr)
	}
}

// Well-known cases with literal results.
func TestDaylightSaving(t *testing.T) {
	for _, test := range []struct{ name, expr, zone, after, want string }{
		{"in the skipped hour: right after it", "30 2 * * *", "America/Los_Angeles",
			"2026-03-08T00:00:00-08:00", "2026-03-08T03:00:00-07:00 2026-03-09T02:30:00-07:00"},
		{"several in the skipped hour: once", "*/20 2 * * *", "Europe/Berlin", "2026-03-29T00:00:00+01:00",
			"2026-03-29T03:00:00+02:00 2026-03-30T02:00:00+02:00"},
		{"in the repeated hour: the first time", "30 1 * * *", "America/New_York", "2026-11-01T00:00:00-04:00",
			"2026-11-01T01:30:00-04:00 2026-11-02T01:30:00-05:00"},
		{"every hour, one of them skipped", "30 * * * *", "America/New_York", "2026-03-08T01:00:00-05:00",
			"2026-03-08T01:30:00-05:00 2026-03-08T03:30:00-04:00"},
		{"every hour, one of them repeated", "30 * * * *", "America/New_York", "2026-11-01T01:00:00-04:00",
			"2026-11-01T01:30:00-04:00 2026-11-01T01:30:00-05:00 2026-11-01T02:30:00-05:00"},
		{"a day without midnight", "0 0 * * *", "Africa/Cairo", "2026-04-23T12:00:00+02:00",
			"2026-04-24T01:00:00+03:00 2026-04-25T00:00:00+03:00"},
		{"a skipped day", "0 2 30 * *", "Pacific/Apia", "2011-12-29T12:00:00-10:00",
			"2011-12-31T00:00:00+14:00 2012-01-30T02:00:00+14:00"},
	} {
		t.Run(test.name, func(t *testing.T) {
			zone, err := time.LoadLocation(test.zone)
			if err != nil {
				t.Fatal(err)
			}
			spec, err := schedule.ParseSpec(test.expr, test.zone)
			if err != nil {
				t.Fatal(err)
			}
			at, err := time.Parse(time.RFC3339, test.after)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for range strings.Fields(test.want) {
				at = spec.Next(at)
				got = append(got, at.In(zone).Format(time.RFC3339))
			}
			if strings.Join(got, " ") != test.want {
				t.Errorf("ticks = %s, want %s", got, test.want)
			}
		})
	}
}

func TestParseSpec(t *testing.T) {
	for expr, want := range map[string]string{
		"":                                      "must have five fields",
		"* * * *":                               "must have five fields",
		"0 0 2 * * *":                           "must have five fields",
		"TZ= * * * *":                           "must not contain a time zone",
		"CRON_TZ=Asia/Shanghai":                 "must not contain a time zone",
		"@every 0s":                             "must name fixed times",
		"@every -1s":                            "must name fixed times",
		"@never":                                "is not one of @hourly, @daily, @weekly, @monthly, @yearly",
		"0 24 * * *":                            `has a wrong hour, "24": it must be 0 to 23, as in 8-17`,
		"-1 * * * *":                            `has a wrong minute, "-1": it must be 0 to 59, as in 0,30 or */15`,
		"*/0 * * * *":                           `has a wrong minute, "*/0"`,
		"0 0 30 2 *":                            "never matches",
		"0 0 31 4,6,9,11 *":                     "never matches",
		"0 0 * * xyz":                           `has a wrong weekday, "xyz": it must be 0 to 7 or SUN to SAT`,
		strings.Repeat("0,", 200) + "0 * * * *": "is longer than",
	} {
		if _, err := schedule.ParseSpec(expr, "UTC"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseSpec(%q): error = %v, want %q", expr, err, want)
		}
	}
	for _, zone := range []string{"", "Local", "0", "Mars/Olympus", "../etc/passwd", "asia", strings.Repeat("x", 1000)} {
		if _, err := schedule.ParseSpec("@daily", zone); err == nil {
			t.Errorf("ParseSpec accepted the zone %q", zone)
		}
	}
}

// Any input gives an error, or ticks in ascending order.
func FuzzParseSpec(f *testing.F) {
	for _, c := range cronCases {
		f.Add(c.expr, "America/New_York", int64(1772900000))
	}
	f.Add("0 0 29 2 1", "Australia/Lord_Howe", int64(0))
	f.Fuzz(func(t *testing.T, expr, zone string, unix int64) {
		spec, err := schedule.ParseSpec(expr, zone)
		if err != nil {
			return
		}
		at := time.Unix(unix%(1<<34), 0)
		for range 3 {
			next := spec.Next(at)
			if next.IsZero() {
				return
			}
			if !next.After(at) {
				t.Fatalf("Next(%s) = %s, want a later time", at, next)
			}
			at = next
		}
	})
}
