package schedule

import (
	"errors"
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // many containers have no time zone database; 0.4 MB

	"github.com/netresearch/go-cron"
)

const (
	// maxSpec bounds an expression, in bytes.
	maxSpec = 256
	// maxYearsAhead bounds the search for the next tick: around 2100 two leap days are eight years apart.
	maxYearsAhead = 10
)

// parser reads the five fields and the words of crontab(5), and common extensions: L (the last day), 15W (the weekday
// nearest to the 15th), 5#3 (the third Friday). If both days are restricted, a time matches if either does.
var parser = cron.MustNewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow |
	cron.Descriptor | cron.DowOrDom | cron.Extended).
	WithMaxSearchYears(maxYearsAhead)

// Spec is a cron expression in a time zone.
type Spec struct {
	wall      cron.Schedule // of wall clock times, which the library takes for UTC
	zone      *time.Location
	everyHour bool
}

// ParseSpec reads a cron expression: the five fields of crontab(5), with L, W and # for days, or @hourly, @daily,
// @weekly, @monthly or @yearly. zone is an IANA name such as Asia/Shanghai. The errors continue a sentence that begins
// with the expression or the zone.
func ParseSpec(expr, zone string) (Spec, error) {
	location, err := ParseZone(zone)
	if err != nil {
		return Spec{}, fmt.Errorf("time zone %.80q %w", zone, err)
	}
	wall, err := parse(expr)
	if err != nil {
		return Spec{}, err
	}
	fields, ok := wall.(*cron.SpecSchedule)
	const hours = 1<<24 - 1
	s := Spec{wall, location, ok && fields.Hour&hours == hours}
	if wall.Next(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return Spec{}, errors.New("never matches: no year has such a date")
	}
	return s, nil
}

func parse(expr string) (cron.Schedule, error) {
	switch {
	case len(expr) > maxSpec:
		return nil, fmt.Errorf("is longer than %d bytes", maxSpec)
	case strings.Contains(expr, "="):
		return nil, errors.New("must not contain a time zone: set timezone instead")
	case strings.HasPrefix(expr, "@every"):
		return nil, errors.New("must name fixed times: for every five minutes write */5 * * * *")
	case !strings.HasPrefix(expr, "@") && len(strings.Fields(expr)) != 5:
		return nil, errors.New(`must have five fields, minute hour day month weekday, such as "30 17 * * 1-5"`)
	}
	wall, err := parser.Parse(expr)
	if err != nil {
		return nil, explainField(expr)
	}
	return wall, nil
}

// explainField returns an error that names the wrong field of an expression. Errors of the library name its options.
func explainField(expr string) error {
	if strings.HasPrefix(expr, "@") {
		return errors.New("is not one of @hourly, @daily, @weekly, @monthly, @yearly")
	}
	fields := strings.Fields(expr)
	for i, field := range []struct{ name, values string }{
		{"minute", "0 to 59, as in 0,30 or */15"},
		{"hour", "0 to 23, as in 8-17"},
		{"day", "1 to 31, or L for the last of the month"},
		{"month", "1 to 12 or JAN to DEC"},
		{"weekday", "0 to 7 or SUN to SAT, as in MON-FRI, or 5#3 for the third Friday"},
	} {
		one := []string{"*", "*", "*", "*", "*"}
		one[i] = fields[i]
		if _, err := parser.Parse(strings.Join(one, " ")); err != nil {
			return fmt.Errorf("has a wrong %s, %q: it must be %s", field.name, fields[i], field.values)
		}
	}
	return errors.New("is not a cron expression")
}

// ParseZone returns the time zone of an IANA name. The error reads on after
// the name.
func ParseZone(name string) (*time.Location, error) {
	location, err := time.LoadLocation(name)
	if err != nil || name == "" || name == "Local" {
		return nil, errors.New("must be UTC or a time zone such as Asia/Shanghai")
	}
	return location, nil
}

// Zone returns the time zone.
func (s Spec) Zone() *time.Location { return s.zone }

// Next returns the first tick after t, in UTC, or the zero time if there is none within ten years. Daylight saving time
// is treated as in ISC cron (crontab(5)). A schedule of every hour ticks whenever the wall clock shows its time. Any
// other schedule misses and repeats no tick: a tick in a skipped hour comes right after it, and a tick in a repeated
// hour comes the first time.
func (s Spec) Next(t time.Time) time.Time {
	t = t.In(s.zone)
	if s.everyHour {
		return s.nextOnWall(t)
	}
	for wall := s.after(wallClock(t)); !wall.IsZero(); wall = s.after(wall) {
		if tick := s.first(wall); tick.After(t) {
			return tick.UTC()
		}
	}
	return time.Time{}
}

// after returns the first tick after wall, both in wall clock time. Ticks are at whole minutes, and the library would
// try each second before one.
func (s Spec) after(wall time.Time) time.Time {
	return s.wall.Next(wall.Truncate(time.Minute).Add(59 * time.Second))
}

// wallClock returns the wall clock time at t, as if it were UTC. The library never sees another zone.
func wallClock(t time.Time) time.Time {
	_, offset := t.Zone()
	return t.UTC().Add(time.Duration(offset) * time.Second)
}

// atOffset returns when the wall clock shows wall, given the UTC offset of t.
func atOffset(wall, t time.Time) time.Time {
	_, offset := t.Zone()
	return wall.Add(-time.Duration(offset) * time.Second)
}

// nextOnWall returns the first time after t at which the wall clock shows a tick.
func (s Spec) nextOnWall(t time.Time) time.Time {
	for after := wallClock(t); ; after = wallClock(t).Add(-time.Second) {
		wall := s.after(after)
		if wall.IsZero() {
			return wall
		}
		tick := atOffset(wall, t)
		_, end := t.ZoneBounds()
		if end.IsZero() || tick.Before(end) {
			return tick
		}
		t = end // the offset changes before that
	}
}

// first returns the first time at which the wall clock shows wall, or the moment of the change if the wall clock skips
// it.
func (s Spec) first(wall time.Time) time.Time {
	const ahead = 24 * time.Hour // more than any zone is ahead of UTC
	t := wall.Add(-ahead).In(s.zone)
	for {
		start, end := t.ZoneBounds()
		tick := atOffset(wall, t)
		switch {
		case !end.IsZero() && !tick.Before(end):
			t = end
		case tick.Before(start):
			return start
		default:
			return tick
		}
	}
}
