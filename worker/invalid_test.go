package worker_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hibiken/asynq"

	"tiwsnap/backlog"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
	"tiwsnap/tiw"
	"tiwsnap/tiw/tiwtest"
)

// Rooms that another release has accepted, with values that this one does not know, fail like other invalid rooms.
func TestRoomsOfAnotherRelease(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	wantInvalid := func(w world, id string) {
		w.Helper()
		s, err := w.ledger.Snapshot(t.Context(), id)
		if err != nil || s.State != ledger.Failed || s.Code != tiw.CodeInvalidRoom ||
			!strings.Contains(s.Message, `SnapshotMode is "Hologram"`) {
			t.Errorf("record of %s = %+v, %v, want code %s with the fault of SnapshotMode", id, s, err, tiw.CodeInvalidRoom)
		}
	}

	t.Run("as a row of a batch", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, redistest.Client(t), tiwtest.Options{})
		load := backlog.New(w.rdb, keys.Default).Load(tasks.Room{SdkAppId: app}) // without validation
		for _, room := range []tasks.Room{{RoomId: 1}, {RoomId: 2, SnapshotMode: "Hologram"}, {RoomId: 3}} {
			if err := load.Add(t.Context(), &room); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := load.Seal(t.Context(), "a", ""); err != nil {
			t.Fatal(err)
		}
		w.work()
		if b := w.waitForEnd("a"); b.Succeeded != 2 || b.Failed != 1 || b.PossibleDuplicates != 0 {
			t.Errorf("batch = %+v", b)
		}
		wantInvalid(w, "a.2")
		w.wantOneTaskEach(2)
		// A retry fails in the same way, and the batch ends again.
		if n, err := w.queue.RetryBatch(t.Context(), "a", false, ""); err != nil || n != 1 {
			t.Errorf("RetryBatch() = %d, %v, want 1", n, err)
		}
		w.waitForEnd("a")
		wantInvalid(w, "a.2")
	})

	t.Run("as a task in its queue", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, redistest.Client(t), tiwtest.Options{})
		payload := fmt.Sprintf(`{"v":1,"id":"s-odd","room":{"SdkAppId":%d,"RoomId":2,"SnapshotMode":"Hologram"}}`, app)
		task := asynq.NewTask(tasks.TypeSnapshot, []byte(payload), asynq.TaskID("s-odd"),
			asynq.Queue(keys.Default.QueueInteractive()))
		if _, err := asynq.NewClientFromRedisClient(w.rdb).EnqueueContext(t.Context(), task); err != nil {
			t.Fatal(err)
		}
		w.work()
		w.eventually("the snapshot has ended", func() bool {
			s, err := w.ledger.Snapshot(t.Context(), "s-odd")
			return err == nil && s.State.Ended()
		})
		wantInvalid(w, "s-odd")
		w.wantOneTaskEach(0)
	})
}
