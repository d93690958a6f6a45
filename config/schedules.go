package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"tiwsnap/internal/rooms"
	"tiwsnap/schedule"
	"tiwsnap/tasks"
)

// Schedule is an entry of schedules: rooms to enqueue at fixed times (ticks).
type Schedule struct {
	Name     string         `koanf:"name"`
	Cron     string         `koanf:"cron"`
	Timezone string         `koanf:"timezone"`
	Rooms    ScheduledRooms `koanf:"rooms"`
	Defaults tasks.Room     `koanf:"defaults"` // without a RoomId
	// Missed is what to do with ticks at which no worker ran: skip, one (the last) or
	// all. Ticks older than MissedWithin are skipped.
	Missed       string        `koanf:"missed"`
	MissedWithin time.Duration `koanf:"missed_within"`
	Overlap      string        `koanf:"overlap"` // skip or queue
}

// ScheduledRooms is the source of the rooms: List, File or URL.
type ScheduledRooms struct {
	List  string `koanf:"list"` // text of a class list
	File  string `koanf:"file"`
	URL   Secret `koanf:"url"`   // its path may contain a key
	Token Secret `koanf:"token"` // for the URL; may be empty
}

// schedules are the settings of an entry of schedules.
var schedules = []setting{
	{"schedules.name", "", "",
		"name, which also begins the ids of its batches",
		pattern(`[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?`, "1 to 32 of a-z, 0-9 and -"), plain},
	{"schedules.cron", "", "", "cron expression: minute hour day month weekday", cronExpr, plain},
	{"schedules.timezone", "", "UTC", "time zone of the cron expression, such as Asia/Shanghai", timezone, plain},
	{"schedules.rooms.list", "", "",
		"rooms, as RoomIds, as blocks with the API's field names, or as the text of a class list",
		roomList, hideCallbacks},
	{"schedules.rooms.file", "", "", "class list file, read at each tick", anyText, plain},
	{"schedules.rooms.url", "", "", "https:// or http:// URL of a class list, read at each tick", roomsURL, hidePath},
	{"schedules.rooms.token", "", "", "bearer token for rooms.url", secret, hide},
	{"schedules.defaults", "", "", "values for fields that a room leaves out, with the API's field " +
		"names", roomDefaults, hideCallbacks},
	{"schedules.missed", "", "one",
		"what to do with ticks missed while no worker ran: skip, one (only the last) or all",
		oneOf("skip", "one", "all"), plain},
	{"schedules.missed_within", "", "24h",
		"maximum age of a missed tick",
		duration(time.Minute, 744*time.Hour), plain},
	{"schedules.overlap", "", "queue",
		"what to do with a tick while the batch of the previous tick is open: queue (enqueue it anyway) or " +
			"skip",
		oneOf("skip", "queue"), plain},
}

// cronExpr checks a cron expression; its time zone is a separate setting.
func cronExpr(s string) (any, error) {
	if _, err := schedule.ParseSpec(s, "UTC"); err != nil {
		return nil, err
	}
	return s, nil
}

func timezone(s string) (any, error) {
	if _, err := schedule.ParseZone(s); err != nil {
		return nil, err
	}
	return s, nil
}

// roomsURL returns a Secret, because such a URL often contains a token.
func roomsURL(s string) (any, error) {
	if strings.HasSuffix(s, "/"+mask) {
		return nil, errors.New("is the placeholder that config print shows: give the URL itself")
	}
	if _, ok := httpURL(s); !ok && s != "" {
		return nil, errors.New("must be a URL such as https://HOST/PATH, without a user or a password: use " +
			"rooms.token for those")
	}
	return secret(s)
}

// roomList returns the text of a class list. A YAML list of RoomIds and blocks, given as
// JSON, becomes JSON lines.
func roomList(s string) (any, error) {
	if err := notShown(s); err != nil {
		return nil, err
	}
	if !strings.HasPrefix(s, "[") {
		return s, nil
	}
	var entries []json.RawMessage
	if err := json.Unmarshal([]byte(s), &entries); err != nil {
		return nil, fmt.Errorf("must be a list of rooms: %w", err)
	}
	var lines strings.Builder
	for i, e := range entries {
		var id uint64
		switch {
		case e[0] == '{':
			lines.Write(e)
		case json.Unmarshal(e, &id) == nil:
			fmt.Fprintf(&lines, `{"RoomId":%d}`, id)
		default:
			return nil, fmt.Errorf("must be a list of rooms, but entry %d is neither a RoomId nor a block", i+1)
		}
		lines.WriteByte('\n')
	}
	return lines.String(), nil
}

// notShown returns an error if the text is an output of hideCallbacks.
func notShown(s string) error {
	for _, u := range urlText.FindAllString(s, -1) {
		if strings.HasSuffix(u, "/"+mask) {
			return errors.New("has the CallbackURL placeholder that config print shows: give the URL itself")
		}
	}
	return nil
}

// roomDefaults parses a room without a RoomId. It adds one for the parser of class lists,
// which requires it.
func roomDefaults(s string) (any, error) {
	if s == "" {
		return tasks.Room{}, nil
	}
	if err := notShown(s); err != nil {
		return nil, err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(s), &fields); err != nil || fields == nil {
		return nil, errors.New("must be a block such as SdkAppId: 1400000000")
	}
	if _, ok := fields["RoomId"]; ok {
		return nil, errors.New("must not have a RoomId: that is different for each room")
	}
	fields["RoomId"] = json.RawMessage("1")
	line, err := json.Marshal(fields)
	if err != nil {
		return nil, err
	}
	// Rooms may set the fields that the defaults lack.
	whole := tasks.Room{SdkAppId: 1, COS: &tasks.COS{Uin: 1, Region: "r", Bucket: "b"}}
	var room tasks.Room
	for row, err := range rooms.Read(strings.NewReader(string(line)),
		rooms.Options{Format: rooms.JSONLines, Defaults: whole}) {
		if err != nil {
			return nil, fmt.Errorf("cannot be read: %w", reason(err))
		}
		room = row.Room
	}
	room.RoomId = 0
	return room, nil
}

// reason returns the error of a row without its line number.
func reason(err error) error {
	var row *rooms.RowError
	if !errors.As(err, &row) {
		return err
	}
	var all []string
	for _, f := range row.Faults {
		all = append(all, strings.TrimSpace(f.Field+" "+f.Reason))
	}
	return errors.New(strings.Join(all, "; "))
}

// maxListFaults is the maximum number of reported bad rows of a list in the file.
const maxListFaults = 10

// schedules checks the settings of a schedule that depend on one another, and the files
// if needs has RoomFiles.
func (l *loader) schedules(c Config, needs []Need) {
	const key = "schedules"
	names := map[string]string{} // origins by name
	for i, entry := range c.lists[key] {
		at := func(field string) string {
			for _, k := range []string{field, "name", "cron", "timezone"} {
				if v, ok := entry[key+"."+k]; ok && v.origin != "default" {
					return v.origin
				}
			}
			return key // an entry without readable settings
		}
		name := entry[key+".name"].text
		if before, twice := names[name]; twice && name != "" {
			l.fault("%s: %s is already the name of another schedule: %s", at("name"), quote(name), before)
		}
		names[name] = at("name")
		var sources []string
		for _, field := range []string{"rooms.list", "rooms.file", "rooms.url"} {
			if _, ok := entry[key+"."+field]; ok {
				sources = append(sources, field)
			}
		}
		switch {
		case len(sources) == 0:
			l.fault("%s: the schedule has no rooms: set rooms.list, rooms.file or rooms.url", at("name"))
		case len(sources) > 1:
			l.fault("%s: cannot be combined with %s: rooms come from one source", at(sources[1]), sources[0])
		case sources[0] != "rooms.url":
			if _, ok := entry[key+".rooms.token"]; ok {
				l.fault("%s: works only with rooms.url, which is not set", at("rooms.token"))
			}
		}
		if i >= len(c.Schedules) {
			continue // its errors are already reported
		}
		s := c.Schedules[i]
		if s.Rooms.List != "" {
			l.roomList(at("rooms.list"), s)
		}
		if s.Rooms.File != "" && slices.Contains(needs, RoomFiles) {
			if err := readable(s.Rooms.File); err != nil {
				l.fault("%s: %w", at("rooms.file"), err)
			}
		}
	}
}

// roomList checks the rooms of a list in the file.
func (l *loader) roomList(origin string, s Schedule) {
	n := 0
	for _, err := range rooms.Read(strings.NewReader(s.Rooms.List), rooms.Options{Defaults: s.Defaults}) {
		if err == nil {
			continue
		}
		if n++; n <= maxListFaults {
			l.fault("%s: %w", origin, err)
		}
	}
	if n > maxListFaults {
		l.fault("%s: … and %d more", origin, n-maxListFaults)
	}
}

func readable(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return unreadable(name, err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return fmt.Errorf("%s is a folder", quote(name))
	}
	return nil
}
