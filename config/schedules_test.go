package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/config"
	"tiwsnap/tasks"
)

func TestSchedules(t *testing.T) {
	c := load(t, config.Source{File: "testdata/schedules.yml"})
	width, height := uint64(1920), uint64(1080)
	want := []config.Schedule{
		{
			Name: "evening", Cron: "30 17 * * 1-5", Timezone: "Asia/Shanghai",
			Rooms: config.ScheduledRooms{List: `{"RoomId":12345}` + "\n" +
				`{"Label":{"class":"5b"},"RoomId":12346,"SdkAppId":1400123481}` + "\n"},
			Defaults: tasks.Room{
				SdkAppId: 1400123480, Whiteboard: &tasks.Whiteboard{Width: &width, Height: &height},
				COS: &tasks.COS{Uin: 100000000001, Region: "ap-guangzhou", Bucket: "boards-1250000000"},
			},
			Missed: "one", MissedWithin: 24 * time.Hour, Overlap: "queue",
		},
		{
			Name: "night", Cron: "@daily", Timezone: "UTC",
			Rooms:  config.ScheduledRooms{List: "SdkAppId,RoomId\n1400123480,12345\n"},
			Missed: "all", MissedWithin: 72 * time.Hour, Overlap: "skip",
		},
		{
			Name: "portal", Cron: "0 * * * *", Timezone: "UTC",
			Missed: "one", MissedWithin: 24 * time.Hour, Overlap: "queue",
		},
	}
	got := c.Schedules
	if r := got[2].Rooms; r.URL.Reveal() != "https://portal.example.com/S3CR3T/rooms.jsonl" ||
		r.Token.Reveal() != "S3CR3T" {
		t.Errorf("rooms of portal: URL %q, token %q", r.URL.Reveal(), r.Token.Reveal())
	}
	got[2].Rooms = config.ScheduledRooms{}
	sameText := cmp.Comparer(func(a, b config.Secret) bool { return a.Reveal() == b.Reveal() })
	if diff := cmp.Diff(want, got, sameText); diff != "" {
		t.Errorf("Schedules (-want +got):\n%s", diff)
	}

	out := printConfig(t, c)
	if strings.Contains(out, "S3CR3T") ||
		!strings.Contains(out, "  - name: evening # testdata/schedules.yml:2: schedules.name\n") ||
		!strings.Contains(out,
			"      url: https://portal.example.com/*** # testdata/schedules.yml:23: schedules.rooms.url\n") {
		t.Errorf("Print() shows a secret, or not the schedule:\n%s", out)
	}

	t.Run("output is a configuration file", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "printed.yml")
		text := strings.NewReplacer("https://portal.example.com/***", "https://portal.example.com/x", "'***'", "x").
			Replace(out)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		again := load(t, config.Source{File: file})
		again.Schedules[2].Rooms = config.ScheduledRooms{}
		if diff := cmp.Diff(want, again.Schedules, sameText); diff != "" {
			t.Errorf("Schedules of the output (-want +got):\n%s", diff)
		}
	})
}

func TestScheduleErrors(t *testing.T) {
	const file = "testdata/flawed-schedules.yml"
	_, err := config.Load(config.Source{File: file}, config.RoomFiles)
	if err == nil {
		t.Fatal("Load() = nil, want an error")
	}
	want := []string{
		`7: schedules.often: is not a setting: did you mean schedules.cron?`,
		`2: schedules.name: "Evening class" must be 1 to 32 of a-z, 0-9 and -`,
		`3: schedules.cron: "61 17 * * *" has a wrong minute, "61": it must be 0 to 59, as in 0,30 or */15`,
		`4: schedules.timezone: "Asia/Shangai" must be UTC or a time zone such as Asia/Shanghai`,
		`5: schedules.rooms.list: "[1,\"two\"]" must be a list of rooms, but entry 2 is neither a RoomId nor a block`,
		`6: schedules.defaults: "{\"RoomId\":5}" must not have a RoomId: that is different for each room`,
		`8: schedules.name: is missing: it must be 1 to 32 of a-z, 0-9 and -`,
		`8: schedules.cron: "@every 5m" must name fixed times: for every five minutes write */5 * * * *`,
		`9: schedules.rooms.url: must be a URL such as https://HOST/PATH, without a user or a password: use ` +
			`rooms.token for those`,
		`10: schedules.missed: "never" must be skip or one or all`,
		`12: schedules.cron: "0 0 30 2 *" never matches: no year has such a date`,
		`14: schedules.defaults: "{\"SdkAppId\":0,\"Size\":3,\"Whiteboard\":{\"Width\":9999}}" cannot be read: ` +
			`SdkAppId is 0, it must be 1 or more; "Size" is not a known name, a label has a name like Label.Size`,
		`27: schedules.name: is already on line 26: remove one of them`,
		`28: schedules.cron: "CRON_TZ=UTC 0 2 * * *" must not contain a time zone: set timezone instead`,
		`30: schedules: must be a block of NAME: VALUE lines`,
		`5: schedules.rooms.token: works only with rooms.url, which is not set`,
		`13: schedules.rooms.file: "testdata/missing.csv" cannot be read: no such file or directory`,
		`15: schedules.name: "twice" is already the name of another schedule: ` + file + `:11: schedules.name`,
		`18: schedules.rooms.file: cannot be combined with rooms.list: rooms come from one source`,
		`19: schedules.rooms.list: line 3, column 2: RoomId is "x", it must be a whole number`,
		`18: schedules.rooms.file: "testdata" is a folder`,
		`23: schedules.name: the schedule has no rooms: set rooms.list, rooms.file or rooms.url`,
		`25: schedules.rooms.token: works only with rooms.url, which is not set`,
		`25: schedules.rooms.file: "testdata" is a folder`,
		`29: schedules.rooms.list: line 1, column 11: RoomId is 0, it must be 1 or more`,
	}
	for i := range want {
		want[i] = file + ":" + want[i]
	}
	if diff := cmp.Diff(strings.Join(want, "\n"), err.Error()); diff != "" {
		t.Errorf("Load() error (-want +got):\n%s", diff)
	}

	t.Run("files are checked only with RoomFiles", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "t.yml")
		text := "schedules: [{name: a, cron: '@daily', rooms: {file: missing.csv}}]\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		load(t, config.Source{File: file})
		if _, err := config.Load(config.Source{File: file}, config.RoomFiles); err == nil {
			t.Error("Load() = nil, want an error")
		}
	})

	t.Run("block instead of a list", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "t.yml")
		if err := os.WriteFile(file, []byte("schedules: {name: a}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		want := file + ":1: schedules: must be a list with entries such as - NAME: VALUE"
		if _, err := config.Load(config.Source{File: file}); err == nil || err.Error() != want {
			t.Errorf("Load() = %v, want %s", err, want)
		}
	})
}

func TestScheduleCallbackURLs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`schedules:
- name: a
  cron: "@daily"
  rooms: {list: [{RoomId: 1, CallbackURL: "https://own.example/S3CR3T"}, 2]}
  defaults: {SdkAppId: 1, CallbackURL: "https://all.example/x?token=S3CR3T&a=b"}
- name: b
  cron: "@daily"
  rooms:
    list: |
      RoomId,SdkAppId,CallbackURL
      1,1,HTTPS://own.example/S3CR3T
`)
	c := load(t, config.Source{File: file})
	if d := c.Schedules[0].Defaults; d.CallbackURL != "https://all.example/x?token=S3CR3T&a=b" ||
		!strings.Contains(c.Schedules[0].Rooms.List, "S3CR3T") {
		t.Errorf("Schedules = %+v", c.Schedules)
	}
	out := printConfig(t, c)
	if strings.Contains(out, "S3CR3T") || strings.Count(out, ".example/***") != 3 {
		t.Errorf("Print() shows a secret, or not the schedule:\n%s", out)
	}
	write(out)
	if _, err := config.Load(config.Source{File: file}); err == nil ||
		strings.Count(err.Error(), `has the CallbackURL placeholder`) != 3 {
		t.Errorf("Load() of masked CallbackURLs = %v, want 3 errors", err)
	}
}
