package main

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestList(t *testing.T) {
	const rooms = 100
	both := []string{faultBadRoom, faultBadApp}
	l := newList(42, both, rooms)
	if !maps.Equal(l.must, newList(42, both, rooms).must) || maps.Equal(l.must, newList(43, both, rooms).must) {
		t.Error("the bad rooms are not a function of the seed")
	}
	byCode := make(map[string]int)
	for room, code := range l.must {
		byCode[code]++
		if (code == badAppCode) != (l.apps[room] == badApp) {
			t.Errorf("room %d of application %d must fail with %s", room, l.apps[room], code)
		}
	}
	if want := map[string]int{badRoomCode: 1, badAppCode: badAppRooms}; !maps.Equal(byCode, want) {
		t.Errorf("rooms that must fail by code are %v, want %v", byCode, want)
	}
	if codes := l.roomCodes(); len(codes) != 1 || codes[slices.Collect(maps.Keys(codes))[0]] != badRoomCode {
		t.Errorf("roomCodes() = %v, want one room with %s", codes, badRoomCode)
	}

	file := filepath.Join(t.TempDir(), "rooms.csv")
	if err := l.write(file); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(lines) != 1+rooms || lines[1] != "1400123480,100000,320,180" && l.must[firstRoom] == "" {
		t.Errorf("the list has %d lines, %q, want %d", len(lines), lines[:2], 1+rooms)
	}
	if n := strings.Count(string(text), "1400123408,"); n != badAppRooms {
		t.Errorf("%d rooms have the mistyped application, want %d", n, badAppRooms)
	}

	if l := newList(42, nil, rooms); len(l.must) != 0 || len(l.rooms) != rooms {
		t.Errorf("without faults: %d rooms, of which %v must fail, want none", len(l.rooms), l.must)
	}
}
