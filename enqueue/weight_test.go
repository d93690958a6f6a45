package enqueue_test

import (
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"tiwsnap/enqueue"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
)

// Every accepted room can end: enqueue accepts no more rooms than the memory of Redis
// holds until their end, with boards of 60 images and with parameters of 12 kB.
func TestWhatWasAcceptedEnds(t *testing.T) {
	needs.Time(t)
	for _, of := range []struct {
		name       string
		images     int
		parameters int
	}{
		{"boards of 60 images", 60, 0},
		{"parameters of 12 kB", 2, 12_000},
	} {
		t.Run(of.name, func(t *testing.T) {
			t.Parallel()
			rdb := redistest.RealClient(t, "--maxmemory", "6mb")
			c := enqueue.New(rdb, keys.Default)
			l := ledger.New(rdb, ledger.Options{})
			room := func(n int) tasks.Room {
				r := tasks.Room{SdkAppId: 1, RoomId: uint64(n)}
				if of.parameters > 0 {
					var text strings.Builder
					for text.Len() < of.parameters {
						text.WriteString(uuid.NewString()) // it compresses badly
					}
					r.Whiteboard = &tasks.Whiteboard{InitParams: strconv.Quote(text.String())}
				}
				return r
			}
			const rooms = 50
			batch := func(first int) iter.Seq2[tasks.Room, error] {
				return func(yield func(tasks.Room, error) bool) {
					for n := range rooms {
						if !yield(room(first+n), nil) {
							return
						}
					}
				}
			}
			var batches []string
			for {
				b, err := c.Batch(t.Context(), batch(1+rooms*len(batches)), enqueue.BatchOptions{
					ID: fmt.Sprintf("b%d", len(batches)),
				})
				var full *enqueue.FullError
				if errors.As(err, &full) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				batches = append(batches, b.ID)
			}
			t.Logf("%d batches of %d rooms were accepted", len(batches), rooms)
			if len(batches) < 3 {
				t.Error("much more fits in")
			}
			for _, b := range batches {
				for n := 1; n <= rooms; n++ {
					p := tasks.SnapshotPayload{ID: tasks.RowID(b, n), Batch: b, Room: room(n)}
					in, err := l.Begin(t.Context(), p, "x", "")
					if err != nil {
						t.Fatal(err)
					}
					task := uuid.NewString()
					err = l.Outcome(t.Context(), p.ID, in.Attempt, ledger.Outcome{
						State: ledger.Accepted, TaskID: task, RequestID: uuid.NewString(),
					})
					if err != nil {
						t.Fatal(err)
					}
					images := make([]string, of.images)
					for i := range images {
						images[i] = "https://tiw-1259648581.cos.ap-nanjing.myqcloud.com/" + uuid.NewString() + ".png"
					}
					if err := l.Settle(t.Context(), p.ID, task, ledger.Result{State: ledger.Succeeded, Images: images}); err != nil {
						t.Fatal(err)
					}
				}
				for _, id := range rdb.ZRange(t.Context(), keys.Default.Unpacked(), 0, -1).Val() {
					rdb.ZIncrBy(t.Context(), keys.Default.Unpacked(), -float64(time.Minute.Milliseconds()), id)
				}
				if _, err := l.Pack(t.Context(), 1000); err != nil {
					t.Fatal(err)
				}
			}
			for _, id := range batches {
				if b, err := l.Batch(t.Context(), id); err != nil || !b.Ended() || b.Succeeded != rooms {
					t.Errorf("%+v, %v", b, err)
				}
			}
		})
	}
}
