package tasks_test

import (
	"testing"

	"tiwsnap/tasks"
)

// The error of an invalid room is a sentence for each fault.
func TestRoomErrorReadsAsSentences(t *testing.T) {
	err := (&tasks.Room{SnapshotMode: "All"}).Validate()
	const want = `SdkAppId is missing; RoomId is missing; ` +
		`SnapshotMode is "All", it must be AllMarks or LatestMarksOnly`
	if err == nil || err.Error() != want {
		t.Errorf("Validate() = %v, want %s", err, want)
	}
}
