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
	refused := func(w world, id string) {
		w.Helper()
		s, err := w.ledger.Snapshot(t.Context(), id)
		if err != nil || s.State != ledger.Failed || s.Code != tiw.CodeInvalidRoom ||
			!strings.Contains(s.Message, `SnapshotMode: is "Hologram"`) {
			t.Errorf("%s is %+v, %v", id, s, err)
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
		if b := w.ended("a"); b.Succeeded != 2 || b.Failed != 1 || b.PossibleDuplicates != 0 {
			t.Errorf("%+v", b)
		}
		refused(w, "a.2")
		w.onceEach(2)
		// A retry fails in the same way, and the batch ends again.
		if n, err := w.queue.RetryBatch(t.Context(), "a", false, ""); err != nil || n != 1 {
			t.Errorf("%d retried, %v", n, err)
		}
		w.ended("a")
		refused(w, "a.2")
	})

	t.Run("as a task on its queue", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, redistest.Client(t), tiwtest.Options{})
		payload := fmt.Sprintf(`{"v":1,"id":"s-odd","room":{"SdkAppId":%d,"RoomId":2,"SnapshotMode":"Hologram"}}`, app)
		task := asynq.NewTask(tasks.TypeSnapshot, []byte(payload), asynq.TaskID("s-odd"),
			asynq.Queue(keys.Default.QueueInteractive()))
		if _, err := asynq.NewClientFromRedisClient(w.rdb).EnqueueContext(t.Context(), task); err != nil {
			t.Fatal(err)
		}
		w.work()
		w.eventually("it has ended", func() bool {
			s, err := w.ledger.Snapshot(t.Context(), "s-odd")
			return err == nil && s.State.Ended()
		})
		refused(w, "s-odd")
		w.onceEach(0)
	})
}
