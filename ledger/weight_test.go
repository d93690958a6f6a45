package ledger_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"

	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
)

// An ended snapshot with 2 images takes at most 400 bytes of Redis in total, in a batch or as a single room. One with
// 60 images takes at most 2.5 kB.
func TestWeight(t *testing.T) {
	needs.Time(t)
	const snapshots = 4000
	for _, test := range []struct {
		name          string
		single        bool
		images, limit int
	}{
		{"a row with 2 images", false, 2, 400},
		{"a row with 60 images", false, 60, 2500},
		{"a single room with 2 images", true, 2, 400},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			rdb := redistest.RealClient(t)
			f := fixture{t, ledger.New(rdb, ledger.Options{}), rdb}
			complete := func(p tasks.SnapshotPayload) {
				f.begin(p, "x")
				task := uuid.NewString()
				f.outcome(p, 1, ledger.Outcome{State: ledger.Accepted, TaskID: task, RequestID: uuid.NewString(), PermitWait: 1})
				images := make([]string, test.images)
				for i := range images {
					images[i] = fmt.Sprintf("https://tiw-1259648581.cos.ap-nanjing.myqcloud.com/%d/%s/%d.png",
						p.Room.RoomId, task, i+1)
				}
				if err := f.Settle(t.Context(), p.ID, task, ledger.Result{State: ledger.Succeeded, Images: images}); err != nil {
					t.Fatal(err)
				}
			}
			single := func(n int) tasks.SnapshotPayload {
				return tasks.SnapshotPayload{ID: tasks.NewID(), Room: tasks.Room{SdkAppId: 1400000000, RoomId: uint64(n)}}
			}
			complete(single(1)) // loads the scripts into Redis
			f.pack()
			empty := f.usedMemory()
			if !test.single {
				f.load(snapshots)
			}
			waiting := f.usedMemory() - empty
			for n := 1; n <= snapshots; n++ {
				if test.single {
					complete(single(n))
				} else {
					complete(row(n))
				}
				if n%500 == 0 {
					f.pack()
				}
			}
			bytes := (f.usedMemory() - empty) / snapshots
			t.Logf("%d bytes, %d of them for the queued room", bytes, waiting/snapshots)
			if bytes > test.limit {
				t.Errorf("an ended snapshot takes %d bytes, want at most %d", bytes, test.limit)
			}
		})
	}
}

// usedMemory returns the memory that Redis uses without its clients, in bytes.
func (f fixture) usedMemory() int {
	f.Helper()
	var used, clients int
	for line := range strings.Lines(f.rdb.Info(f.Context(), "memory").Val()) {
		fmt.Sscanf(line, "used_memory:%d", &used)
		fmt.Sscanf(line, "mem_clients_normal:%d", &clients)
	}
	if used == 0 {
		f.Fatal("INFO memory has no used_memory")
	}
	return used - clients
}
