package tasks_test

import (
	"maps"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tiwsnap/tasks"
)

func TestOver(t *testing.T) {
	defaults := tasks.Room{
		SdkAppId:     1400000001,
		RoomId:       99,
		SnapshotMode: tasks.ModeAllMarks,
		Whiteboard:   &tasks.Whiteboard{Width: new(uint64(1280)), Height: new(uint64(720))},
		COS:          &tasks.COS{Uin: 100000000001, Region: "ap-guangzhou", Bucket: "notes-1250000000"},
		Label:        map[string]string{"School": "No. 1", "Term": "autumn"},
	}
	for _, tt := range []struct {
		name      string
		row, want tasks.Room
	}{
		{"all defaults but the RoomId",
			tasks.Room{RoomId: 5},
			tasks.Room{SdkAppId: 1400000001, RoomId: 5, SnapshotMode: tasks.ModeAllMarks,
				Whiteboard: defaults.Whiteboard, COS: defaults.COS, Label: defaults.Label}},
		{"no default RoomId",
			tasks.Room{SdkAppId: 7},
			tasks.Room{SdkAppId: 7, SnapshotMode: tasks.ModeAllMarks,
				Whiteboard: defaults.Whiteboard, COS: defaults.COS, Label: defaults.Label}},
		{"blocks by field, labels by name",
			tasks.Room{SdkAppId: 7, RoomId: 5, SnapshotMode: tasks.ModeLatestMarksOnly,
				Whiteboard: &tasks.Whiteboard{Width: new(uint64(0)), InitParams: `{"ratio":"4:3"}`},
				COS:        &tasks.COS{Bucket: "other-1250000000", TargetDir: "monday"},
				Label:      map[string]string{"School": "No. 2", "Class": ""}},
			tasks.Room{SdkAppId: 7, RoomId: 5, SnapshotMode: tasks.ModeLatestMarksOnly,
				Whiteboard: &tasks.Whiteboard{Width: new(uint64(0)), Height: new(uint64(720)), InitParams: `{"ratio":"4:3"}`},
				COS:        &tasks.COS{Uin: 100000000001, Region: "ap-guangzhou", Bucket: "other-1250000000", TargetDir: "monday"},
				Label:      map[string]string{"School": "No. 2", "Term": "autumn", "Class": ""}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := clone(defaults)
			if diff := cmp.Diff(tt.want, tt.row.Over(defaults)); diff != "" {
				t.Errorf("Over() (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, defaults); diff != "" {
				t.Errorf("Over() changed the defaults (-before +after):\n%s", diff)
			}
		})
	}
}

// A new field of Room must be merged too. Every field that the row leaves out, at any depth, comes from the defaults.
// RoomId is the exception.
func TestOverMergesEveryField(t *testing.T) {
	var full tasks.Room
	setFields(reflect.ValueOf(&full).Elem())
	got := tasks.Room{RoomId: full.RoomId, Whiteboard: &tasks.Whiteboard{}, COS: &tasks.COS{}}.Over(full)
	if diff := cmp.Diff(full, got); diff != "" {
		t.Errorf("Over() (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(full, full.Over(tasks.Room{})); diff != "" {
		t.Errorf("Over() without defaults (-want +got):\n%s", diff)
	}
}

func TestOverIsAssociative(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := drawRoom(t, "a"), drawRoom(t, "b"), drawRoom(t, "c")
		if diff := cmp.Diff(a.Over(b).Over(c), a.Over(b.Over(c))); diff != "" {
			t.Errorf("a.Over(b).Over(c) and a.Over(b.Over(c)) (-want +got):\n%s", diff)
		}
	})
}

func drawRoom(t *rapid.T, name string) tasks.Room {
	word := rapid.SampledFrom([]string{"", "x", "y"})
	num := rapid.Uint64Max(2)
	side := rapid.Ptr(num, true)
	return tasks.Room{
		SdkAppId:     num.Draw(t, name),
		RoomId:       num.Draw(t, name),
		SnapshotMode: word.Draw(t, name),
		Whiteboard: rapid.Ptr(rapid.Custom(func(t *rapid.T) tasks.Whiteboard {
			return tasks.Whiteboard{Width: side.Draw(t, "w"), Height: side.Draw(t, "h"), InitParams: word.Draw(t, "p")}
		}), true).Draw(t, name),
		COS: rapid.Ptr(rapid.Custom(func(t *rapid.T) tasks.COS {
			return tasks.COS{Uin: num.Draw(t, "u"), Region: word.Draw(t, "r"), Bucket: word.Draw(t, "b"),
				TargetDir: word.Draw(t, "t"), Domain: word.Draw(t, "d")}
		}), true).Draw(t, name),
		Label: rapid.MapOfN(word, word, 1, 3).Draw(t, name),
	}
}

func clone(r tasks.Room) tasks.Room {
	w, c := *r.Whiteboard, *r.COS
	r.Whiteboard, r.COS = &w, &c
	r.Label = maps.Clone(r.Label)
	return r
}

func setFields(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			setFields(v.Field(i))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		setFields(v.Elem())
	case reflect.Uint64:
		v.SetUint(7)
	case reflect.String:
		v.SetString("set")
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]string{"set": "set"}))
	default:
		panic("setFields does not know " + v.Kind().String())
	}
}
