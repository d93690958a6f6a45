package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

const (
	firstRoom = 100_000
	sdkAppID  = 1400123480

	badRoomCode = "UnauthorizedOperation"

	badApp      = 1400123408 // mistyped
	badAppCode  = "UnauthorizedOperation.SdkAppId"
	badAppRooms = 5
)

// list is a class list.
type list struct {
	rooms []uint64          // RoomIds
	apps  map[uint64]uint64 // SdkAppId by RoomId
	must  map[uint64]string // error code by RoomId of the rooms that must fail
}

// newList returns a list of n rooms, at least 10. Faults of the class list make some rooms bad; the seed chooses them.
func newList(seed uint64, faults []string, n int) list {
	l := list{apps: make(map[uint64]uint64), must: make(map[uint64]string)}
	for i := range n {
		room := uint64(firstRoom + i)
		l.rooms = append(l.rooms, room)
		l.apps[room] = sdkAppID
	}
	bad := random(seed, faultBadRoom).Perm(n)
	if slices.Contains(faults, faultBadRoom) {
		l.must[l.rooms[bad[0]]] = badRoomCode
	}
	if slices.Contains(faults, faultBadApp) {
		for _, i := range bad[1 : 1+badAppRooms] {
			l.apps[l.rooms[i]], l.must[l.rooms[i]] = badApp, badAppCode
		}
	}
	return l
}

// roomCodes and appCodes are the error codes that the simulator returns for bad rooms and applications.
func (l list) roomCodes() map[uint64]string {
	codes := make(map[uint64]string)
	for room, code := range l.must {
		if code == badRoomCode {
			codes[room] = code
		}
	}
	return codes
}

func (l list) appCodes() map[uint64]string { return map[uint64]string{badApp: badAppCode} }

// write writes the list as CSV. The whiteboards are small, so that drawing the images takes little of the machine.
func (l list) write(name string) error {
	var b strings.Builder
	b.WriteString("SdkAppId,RoomId,Whiteboard.Width,Whiteboard.Height\n")
	for _, room := range l.rooms {
		fmt.Fprintf(&b, "%d,%d,320,180\n", l.apps[room], room)
	}
	return os.WriteFile(name, []byte(b.String()), 0o600)
}
