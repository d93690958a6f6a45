package rooms

import (
	"cmp"
	"fmt"
	"slices"

	"tiwsnap/internal/plural"
	"tiwsnap/tasks"
)

// record is a row that a parser hands to the checker.
type record struct {
	Row
	places []place
	faults []Fault
	broken bool // the row could not be parsed, so Room is incomplete
}

// place is the position of a field in a row.
type place struct {
	column
	at int // as Fault.Column
}

func (r *record) reset() {
	r.Row = Row{}
	r.faults = r.faults[:0]
	r.broken = false
}

func (r *record) fault(at int, field, format string, args ...any) {
	r.faults = append(r.faults, Fault{at, field, fmt.Sprintf(format, args...)})
}

// syntax adds a fault that makes the rest of the row meaningless.
func (r *record) syntax(at int, field, format string, args ...any) {
	r.fault(at, field, format, args...)
	r.broken = true
}

// checker finds the faults of a row beyond its syntax.
type checker struct {
	defaults       tasks.Room
	callback       func(url string) error // or nil
	goodWhiteboard bool                   // the whiteboard of the defaults is valid, and not checked for each row
	seen           *seen
	large          int // number of rooms above tasks.MaxDocumentedRoomID
	largeLine      int // line of the first of them
}

func newChecker(o Options) *checker {
	whiteboard := tasks.Room{SdkAppId: 1, RoomId: 1, Whiteboard: o.Defaults.Whiteboard}
	return &checker{
		defaults:       o.Defaults,
		callback:       o.CheckCallback,
		goodWhiteboard: whiteboard.Validate() == nil,
		seen:           newSeen(),
	}
}

// record adds the faults of the room to those of its syntax. The error is a *FileError.
func (c *checker) record(r *record) error {
	if r.broken {
		return nil
	}
	room := r.Room.Over(c.defaults)
	if r.Room.Whiteboard == nil && c.goodWhiteboard {
		room.Whiteboard = nil
	}
	if err := room.Validate(); err != nil {
		c.invalid(r, err.(*tasks.RoomError).Faults)
	} else if r.Room.CallbackURL != "" && c.callback != nil {
		if err := c.callback(r.Room.CallbackURL); err != nil {
			r.fault(r.column("CallbackURL"), "CallbackURL", "%s", err)
		}
	}
	if len(r.faults) > 0 {
		return nil
	}

	app, ok := c.seen.app(room.SdkAppId)
	if !ok {
		return fileError(r.Line, "the file has more than %d different SdkAppIds, perhaps the columns SdkAppId and "+
			"RoomId are swapped", maxApps)
	}
	if line := c.seen.add(app, room.RoomId, r.Line); line > 0 {
		where := fmt.Sprintf("on line %d", line)
		if line == maxLine {
			where = "further up"
		}
		r.fault(r.column("RoomId"), "RoomId", "%d of SdkAppId %d is already %s", room.RoomId, room.SdkAppId, where)
		return nil
	}
	if room.RoomId > tasks.MaxDocumentedRoomID {
		if c.large++; c.large == 1 {
			c.largeLine = r.Line
		}
	}
	return nil
}

// noteLargeRooms adds a note about RoomIds that Tencent may reject.
func (c *checker) noteLargeRooms(note func(int, string, ...any)) {
	if c.large > 0 {
		note(c.largeLine, "the first of %s with a RoomId above %d, which other whiteboard APIs do not take",
			plural.Of(c.large, "room"), uint64(tasks.MaxDocumentedRoomID))
	}
}

// invalid adds the faults that Validate found, except those of fields with a fault of syntax.
func (c *checker) invalid(r *record, faults []tasks.FieldError) {
	for _, f := range faults {
		if !slices.ContainsFunc(r.faults, func(known Fault) bool { return known.Field == f.Field }) {
			r.fault(r.column(f.Field), f.Field, "%s", f.Reason)
		}
	}
	slices.SortStableFunc(r.faults, func(a, b Fault) int { return cmp.Compare(a.Column, b.Column) })
}

// column returns the position of a field in the row, or 0.
func (r *record) column(field string) int {
	for _, p := range r.places {
		if p.name() == field {
			return p.at
		}
	}
	return 0
}
