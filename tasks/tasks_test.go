package tasks_test

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"

	"tiwsnap/tasks"
)

// Tasks of the previous release are still queued when the next release starts, so the payload must not change.
func TestSnapshotPayloadIsPinned(t *testing.T) {
	golden, err := os.ReadFile("testdata/snapshot-v1.json")
	if err != nil {
		t.Fatal(err)
	}
	width, height := uint64(1920), uint64(0)
	p := tasks.SnapshotPayload{
		ID:    "class-0123456789ab.17",
		Batch: "class-0123456789ab",
		Room: tasks.Room{
			SdkAppId:     1400123480,
			RoomId:       tasks.MaxDocumentedRoomID,
			Whiteboard:   &tasks.Whiteboard{Width: &width, Height: &height, InitParams: `{"ratio":"16:9"}`},
			SnapshotMode: tasks.ModeLatestMarksOnly,
			COS: &tasks.COS{
				Uin: 100012345678, Region: "ap-guangzhou", Bucket: "boards-1250000000", TargetDir: "/2026",
				Domain: "cdn.example.com",
			},
			Label: map[string]string{"Class": "三年级 <2> & \"B\""},
		},
	}
	task, err := p.Task()
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.TrimSpace(string(golden)), string(task.Payload())); d != "" {
		t.Errorf("the payload has changed: raise payloadVersion and keep reading the old one\n%s", d)
	}
	back, err := tasks.ParseSnapshot(golden)
	if err != nil {
		t.Fatal(err)
	}
	p.V = 1
	if d := cmp.Diff(p, back); d != "" {
		t.Errorf("ParseSnapshot() (-want +got):\n%s", d)
	}
}

func TestParseSnapshot(t *testing.T) {
	newer, _ := json.Marshal(tasks.SnapshotPayload{V: 99, ID: "s-1", Room: tasks.Room{SdkAppId: 1, RoomId: 1}})
	if _, err := tasks.ParseSnapshot(newer); !errors.Is(err, tasks.ErrNewerPayload) {
		t.Errorf("ParseSnapshot() of a newer payload = %v, want ErrNewerPayload", err)
	}
	for _, bad := range []string{"", "{", "null", `{"v":1,"room":{"SdkAppId":1,"RoomId":1}}`,
		`{"v":1,"id":"s-1","room":{}}`, `{"v":1,"id":5}`} {
		if _, err := tasks.ParseSnapshot([]byte(bad)); err == nil || errors.Is(err, tasks.ErrNewerPayload) {
			t.Errorf("ParseSnapshot(%q) = %v, want another error", bad, err)
		}
	}
}

func TestNewSnapshot(t *testing.T) {
	_, err := tasks.NewSnapshot(tasks.Room{SnapshotMode: "All"})
	var bad *tasks.RoomError
	if !errors.As(err, &bad) || len(bad.Faults) != 3 {
		t.Errorf("NewSnapshot() of a room with three errors = %v", err)
	}
	a, err := tasks.NewSnapshot(tasks.Room{SdkAppId: 1, RoomId: 1}, asynq.Queue("mine"))
	if err != nil {
		t.Fatal(err)
	}
	if a.Type() != tasks.TypeSnapshot {
		t.Errorf("Type() = %q, want %q", a.Type(), tasks.TypeSnapshot)
	}
}

func TestRowID(t *testing.T) {
	batch, row, ok := tasks.SplitRowID(tasks.RowID("class-1", 17))
	if batch != "class-1" || row != 17 || !ok {
		t.Errorf("SplitRowID() = %q, %d, %t, want class-1, 17, true", batch, row, ok)
	}
	for _, id := range []string{"", "s-abc", "class", "class.", "class.x", "class.0", "class.-1", ".1", "A.1", "a.1.2"} {
		if _, _, ok := tasks.SplitRowID(id); ok {
			t.Errorf("SplitRowID(%q) accepts it as the id of a row", id)
		}
	}
}
