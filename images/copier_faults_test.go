package images_test

import (
	"bytes"
	"context"
	"fmt"
	"image/png"
	"maps"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common"

	"tiwsnap/images"
	"tiwsnap/internal/guard"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/results"
	"tiwsnap/tiw"
	"tiwsnap/tiw/tiwtest"
)

// createImages creates tasks in the simulator and returns the URLs of their images.
func createImages(t *testing.T, sim *tiwtest.Server, n int) [][]string {
	t.Helper()
	api, err := tiw.New(tiw.Options{
		Endpoint: sim.URL, Credential: common.NewCredential(tiwtest.DefaultSecret, tiwtest.DefaultSecret),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()
	all := make([][]string, n)
	for i := range all {
		req := tiw.NewCreateSnapshotTaskRequest()
		req.SdkAppId, req.RoomId = new(uint64(7)), new(uint64(i+1))
		req.Whiteboard = &tiw.SnapshotWhiteboard{Width: new(uint64(320)), Height: new(uint64(180))}
		created, err := api.CreateSnapshotTask(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		describe := tiw.NewDescribeSnapshotTaskRequest()
		describe.TaskID, describe.SdkAppId = created.TaskID, req.SdkAppId
		response, err := api.DescribeSnapshotTask(t.Context(), describe)
		if err != nil {
			t.Fatal(err)
		}
		all[i] = tiw.ResultOf(response).Images
	}
	return all
}

// A fault of the image host delays copies, but loses no image. In the end the folder has the images of the host, byte
// for byte, and no other files.
func TestCopierRetriesImageFaults(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	const rooms, faults = 4, 6
	for _, fault := range tiwtest.ImageFaults {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			sim := tiwtest.Start(t, tiwtest.Options{
				Limit: -1, Images: 2, HoldLimit: 300 * time.Millisecond,
				Faults: tiwtest.Faults{Images: map[tiwtest.ImageFault]float64{fault: 1}, ImagesFirst: faults},
			})
			server := redistest.Real(t)
			rdb := redis.NewClient(&redis.Options{Addr: server.Addr})
			defer rdb.Close()
			urls := createImages(t, sim, rooms)
			l := succeedBatchAt(t, rdb, "a", urls)
			private, err := guard.ParsePrivate([]string{"127.0.0.1"})
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			f := images.NewFetcher(images.FetcherOptions{Private: private, MaxBytes: 1 << 20})
			defer f.Close()
			c := images.NewCopier(images.CopierOptions{
				Store: openStore(t, "file://"+dir), Fetcher: f, Ledger: l, Results: results.NewReader(rdb, keys.Default),
				Second: 5 * time.Millisecond,
			})
			ctx, stop := context.WithCancel(t.Context())
			var running sync.WaitGroup
			running.Go(func() { c.Run(ctx) })
			defer running.Wait()
			defer stop()
			redistest.Until(t, "all images are copied", func() bool {
				b, err := l.Batch(t.Context(), "a")
				return err == nil && b.CopiedImages == 2*rooms && images.Archived(b)
			})
			if n := sim.State().Faults["images."+string(fault)]; n != faults {
				t.Errorf("the fault hit %d requests, want %d", n, faults)
			}
			want := map[string]string{"results.csv": "", "results.jsonl": "", "index.html": ""}
			for i, room := range urls {
				for n, url := range room {
					b, err := fetch(t.Context(), f, url)
					if err != nil {
						t.Fatal(err)
					}
					if _, err := png.Decode(bytes.NewReader(b)); err != nil {
						t.Fatal(err)
					}
					want[fmt.Sprintf("%04d-%d班-.-%d/%d.png", i+1, i+1, i+1, n+1)] = string(b)
				}
			}
			if got := readFiles(t, filepath.Join(dir, "a")); !maps.Equal(got, want) {
				t.Errorf("files %q, want %q", nameSizes(got), nameSizes(want))
			}
			if left, _ := filepath.Glob(filepath.Join(dir, ".tmp", "*")); len(left) != 0 {
				t.Errorf("temporary files are left: %v", left)
			}
			if b, err := l.Batch(t.Context(), "a"); err != nil || b.LostImages+b.PendingImages != 0 {
				t.Errorf("batch %+v (%v), want no lost or pending image", b, err)
			}
		})
	}
}

// nameSizes returns the name and length of each file.
func nameSizes(files map[string]string) []string {
	var all []string
	for name, text := range files {
		all = append(all, fmt.Sprint(name, " ", len(text)))
	}
	return all
}
