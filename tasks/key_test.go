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
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestKeyID(t *testing.T) {
	type three struct {
		app, room uint64
		key       string
	}
	draw := rapid.Custom(func(t *rapid.T) three {
		return three{rapid.Uint64Range(0, 3).Draw(t, "app"), rapid.Uint64Range(0, 3).Draw(t, "room"),
			rapid.StringMatching(`[0-3]{0,3}`).Draw(t, "key")}
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := draw.Draw(t, "a"), draw.Draw(t, "b")
		x, y := tasks.KeyID(a.app, a.room, a.key), tasks.KeyID(b.app, b.room, b.key)
		if (a == b) != (x == y) {
			t.Errorf("%+v is %s, %+v is %s", a, x, b, y)
		}
		if len(x) != 34 || !tasks.ValidBatchID(x) {
			t.Errorf("id %q", x)
		}
	})
}

func TestCheckKey(t *testing.T) {
	for _, good := range []string{"x", "lesson 7", "2026-11-22/三年级", strings.Repeat("x", 255)} {
		if err := tasks.CheckKey(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", strings.Repeat("x", 256), strings.Repeat("三", 86), "a\nb", "a\x00b", "\xff",
		"\u202e", "\x1b[31m"} {
		var e *tasks.RoomError
		if err := tasks.CheckKey(bad); !errors.As(err, &e) || strings.ContainsAny(err.Error(), "\n\x00\x1b") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
