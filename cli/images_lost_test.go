package cli

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/images"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/ledger/ledgertest"
	"tiwsnap/tasks"
	"tiwsnap/tiw/tiwtest"
)

// succeedLongAgo ends each row of a batch with two images at host. ago is the time since Tencent accepted the row.
func succeedLongAgo(t *testing.T, rdb redis.UniversalClient, batch, host string, rows int, ago time.Duration) {
	t.Helper()
	l := ledger.New(rdb, ledger.Options{})
	for row := 1; row <= rows; row++ {
		id := tasks.RowID(batch, row)
		ledgertest.Accept(t, l, tasks.SnapshotPayload{
			ID: id, Batch: batch, Room: tasks.Room{SdkAppId: 1400123480, RoomId: uint64(row)},
		})
		accepted := time.Now().Add(-ago).UnixMilli()
		if err := rdb.HSet(t.Context(), keys.Default.Snapshot(id), "accepted_at", accepted).Err(); err != nil {
			t.Fatal(err)
		}
		ledgertest.Succeed(t, l, id, fmt.Sprintf("%s/%d/1.png", host, row), fmt.Sprintf("%s/%d/2.png", host, row))
	}
}

// All output reports the images that were not copied before Tencent deleted them, and nothing shows a dead link.
func TestLostImages(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s, dir := newCopyingSite(t, tiwtest.Options{})
	h := newHook(s)
	s.environ["TIWSNAP_HTTP_ADDR"] = redistest.FreeAddr(t)
	s.environ["TIWSNAP_WEBHOOK_EVENTS"] = "images"
	s.enqueueBatch("monday", 2)
	succeedLongAgo(t, s.client(), "monday", s.sim.URL+"/gone", 2, 73*time.Hour) // the simulator responds with 404
	s.startWorker()
	l := ledger.New(s.client(), ledger.Options{})
	s.waitUntil("the images are lost and the lists are written", func() bool {
		b, err := l.Batch(t.Context(), "monday")
		return err == nil && b.LostImages == 4 && images.Archived(b)
	})

	s.checkRun(exitOK, "images lost  4", "status", "monday")
	s.checkRun(exitOK, `"images_lost": 4`, "status", "monday", "-o", "json")
	s.checkRun(exitOK, "not copied         "+strings.TrimPrefix(s.sim.URL, "http://")+" answered 404",
		"status", "monday.1")
	s.checkRun(exitOK, "images at Tencent  gone", "status", "monday.1")
	s.checkRun(exitOK, "error      ClientError.ImageLost", "failures")
	s.checkRun(exitOK, "snapshots  2", "failures", "--batch", "monday")
	s.checkRun(exitOK, "answered 404", "failures", "--list")
	s.checkRun(exitOK, `"code": "ClientError.ImageLost"`, "failures", "-o", "json")
	for _, row := range s.rows("monday") {
		if row["Snapshots"] != "gone gone" || row["Copies"] != "" || row["State"] != "succeeded" {
			t.Errorf("result list: %v, want lost images", row)
		}
	}
	files := readFiles(t, dir)
	header, rows := parseCSV(t, strings.TrimPrefix(files["monday/results.csv"], "\ufeff"))
	for _, row := range rows {
		if row[header["Image1"]] != "gone" || row[header["Image2"]] != "gone" {
			t.Errorf("results.csv: %v, want lost images", row)
		}
	}
	page := files["monday/index.html"]
	if strings.Contains(page, s.sim.URL) || !strings.Contains(page, "2 <span data-zh=\"张丢失\">lost") {
		t.Errorf("index.html links deleted images, or does not count them")
	}

	base := "http://" + s.environ["TIWSNAP_HTTP_ADDR"]
	for path, want := range map[string][]string{
		"/batches/monday":        {"4 images lost", "ClientError.ImageLost", "images copied: 0 of 4"},
		"/failures":              {"ClientError.ImageLost", "answered 404", "a retry copies the image"},
		"/":                      {"ClientError.ImageLost", "4 images lost"},
		"/snapshots/monday.1":    {"2 images lost", "Tencent has deleted it", "answered 404"},
		"/batches/monday/images": {"Tencent has deleted it"},
		"/metrics":               {`tiwsnap_images_lost_total{namespace="tiwsnap"} 4`},
	} {
		page := getBody(t, base+path)
		for _, words := range want {
			if !strings.Contains(page, words) {
				t.Errorf("%s lacks %q", path, words)
			}
		}
		if path != "/metrics" && strings.Contains(page, `src="/v1/snapshots/monday.1/images/1`) {
			t.Errorf("%s shows a deleted image", path)
		}
	}

	event, data := h.next(t)
	b := data.(map[string]any)
	if event != "images.copied" || b["id"] != "monday" || b["images_lost"] != 4.0 {
		t.Errorf("webhook %s, %v, want images.copied with 4 lost images", event, data)
	}

	// A retry of this code tries the copy again, and sends no snapshot request.
	s.checkRun(exitOK, "2 queued for retry", "retry", "monday", "--failed", "--code", "ClientError.ImageLost")
	s.waitUntil("the images are lost again", func() bool {
		b, err := l.Batch(t.Context(), "monday")
		return err == nil && b.LostImages == 4 && b.PendingImages == 0
	})
	if n := len(slices.Collect(s.sim.Tasks())); n != 0 {
		t.Errorf("%d tasks created, want 0", n)
	}
}
