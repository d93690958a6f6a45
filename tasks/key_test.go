package tasks_test

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"tiwsnap/tasks"
)

// A producer of the next release must find what this release has enqueued, so the id of a key must not change.
func TestKeyIDIsPinned(t *testing.T) {
	const want = "s-wg3nimhri2jnwyfubf3ebgsnmqy374uj"
	if got := tasks.KeyID(1400123480, 12345, "lesson-7"); got != want {
		t.Errorf("KeyID() = %s, want %s", got, want)
	}
}

func TestKeyID(t *testing.T) {
	type keyed struct {
		app, room uint64
		key       string
	}
	draw := rapid.Custom(func(t *rapid.T) keyed {
		return keyed{rapid.Uint64Range(0, 3).Draw(t, "app"), rapid.Uint64Range(0, 3).Draw(t, "room"),
			rapid.StringMatching(`[0-3]{0,3}`).Draw(t, "key")}
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := draw.Draw(t, "a"), draw.Draw(t, "b")
		x, y := tasks.KeyID(a.app, a.room, a.key), tasks.KeyID(b.app, b.room, b.key)
		if (a == b) != (x == y) {
			t.Errorf("KeyID(%+v) = %s, KeyID(%+v) = %s", a, x, b, y)
		}
		if len(x) != 34 || !tasks.ValidBatchID(x) {
			t.Errorf("KeyID() = %q, want a valid id of 34 characters", x)
		}
	})
}

func TestCheckKey(t *testing.T) {
	for _, good := range []string{"x", "lesson 7", "2026-11-22/三年级", strings.Repeat("x", 255)} {
		if err := tasks.CheckKey(good); err != nil {
			t.Errorf("CheckKey(%q) = %v, want nil", good, err)
		}
	}
	for _, bad := range []string{"", strings.Repeat("x", 256), strings.Repeat("三", 86), "a\nb", "a\x00b", "\xff",
		"\u202e", "\x1b[31m"} {
		var e *tasks.RoomError
		if err := tasks.CheckKey(bad); !errors.As(err, &e) || strings.ContainsAny(err.Error(), "\n\x00\x1b") {
			t.Errorf("CheckKey(%q) = %v, want a RoomError without control characters", bad, err)
		}
	}
}
