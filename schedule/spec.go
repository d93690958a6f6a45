package schedule

import (
	"errors"
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // many containers have no time zones; 0.4 MB of the binary

	"github.com/netresearch/go-cron"
)

// maxSpec bounds an expression, in bytes.
const maxSpec = 256

// farthest is how far ahead a tick is looked for, in years: two leap days are
// eight apart where a century begins between them.
const farthest = 10

// parser reads the five fields of crontab(5), its words, and what is widely
// used beyond them: L (the last day), 15W (the weekday nearest to the 15th),
// 5#3 (the third Friday). Where both days are restricted either will do.
var parser = cron.MustNewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow |
	cron.Descriptor | cron.DowOrDom | cron.Extended).
	WithMaxSearchYears(farthest)

// Spec is when a schedule ticks: a cron expression in a time zone.
type Spec struct {
	wall      cron.Schedule // in wall clock time, which it takes for UTC
	zone      *time.Location
	everyHour bool
}

// ParseSpec reads a cron expression: the five fields of crontab(5), with L, W
// and # for days, or @hourly, @daily, @weekly, @monthly or @yearly. zone is an IANA name as in
// Asia/Shanghai. The errors read on after the expression or the zone.
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
		return nil, wrongField(expr)
	}
	return wall, nil
}

// wrongField says which field of a wrong expression is wrong. The library's own
// errors speak of its options.
func wrongField(expr string) error {
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

// Next returns the first tick after t, in UTC; the zero time if there is none
// within ten years. Daylight saving is as ISC cron has it (crontab(5)).
// Schedules of every hour tick whenever the clock on the wall shows their
// time. The others miss nothing and repeat nothing: a tick in an hour that is
// skipped comes right after it, one in an hour that is repeated comes the first
// time.
func (s Spec) Next(t time.Time) time.Time {
	t = t.In(s.zone)
	if s.everyHour {
		return s.nextShown(t)
	}
	for wall := s.after(onWall(t)); !wall.IsZero(); wall = s.after(wall) {
		if tick := s.first(wall); tick.After(t) {
			return tick.UTC()
		}
	}
	return time.Time{}
}

// after is the first tick after wall, both by the clock on the wall. Ticks are
// at whole minutes; the library would try every second before one.
func (s Spec) after(wall time.Time) time.Time {
	return s.wall.Next(wall.Truncate(time.Minute).Add(59 * time.Second))
}

// onWall is what the clock on the wall shows at t, as if that were UTC. The
// library never sees another zone.
func onWall(t time.Time) time.Time {
	_, offset := t.Zone()
	return t.UTC().Add(time.Duration(offset) * time.Second)
}

// atOffset is when the clock on the wall shows wall, if it has the offset of t.
func atOffset(wall, t time.Time) time.Time {
	_, offset := t.Zone()
	return wall.Add(-time.Duration(offset) * time.Second)
}

// nextShown is the first time after t at which the clock on the wall shows a
// tick.
func (s Spec) nextShown(t time.Time) time.Time {
	for after := onWall(t); ; after = onWall(t).Add(-time.Second) {
		wall := s.after(after)
		if wall.IsZero() {
			return wall
		}
		tick := atOffset(wall, t)
		_, end := t.ZoneBounds()
		if end.IsZero() || tick.Before(end) {
			return tick
		}
		t = end // the clock is put forward or back before that
	}
}

// first is the first time at which the clock on the wall shows wall; where it
// skips that, the moment of the skip.
func (s Spec) first(wall time.Time) time.Time {
	const ahead = 24 * time.Hour // more than any clock is ahead of UTC
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
