package cli

import (
	"strings"
	"testing"

	"tiwsnap/internal/needs"
	"tiwsnap/tiw"
	"tiwsnap/tiw/tiwtest"
)

// Every command shows which snapshots succeeded without an image, or with fewer images than Tencent counts.
func TestMissingImagesAreReported(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	t.Run("no image", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, tiwtest.Options{Faults: tiwtest.Faults{Shapes: map[tiwtest.Shape]float64{tiwtest.ShapeNoImages: 1}}})
		s.startWorker()
		s.enqueueBatch("a", 2)
		s.checkRun(exitOK, "2 without an image", "wait", "a")
		s.checkRun(exitOK, "of them without an image  2", "status", "a")
		s.checkRun(exitOK, `"no_image": 2`, "status", "a", "-o", "json")
		s.checkRun(exitOK, "result     "+tiw.CodeNoImage, "status", "a.1")
		s.checkRun(exitOK, "addSnapshotMark", "status", "a.1")
		if header, rows := parseCSV(t, s.mustRun("status", "-o", "csv")); rows[0][header["NO IMAGE"]] != "2" {
			t.Errorf("status lists %v, want 2 snapshots without an image", rows)
		}
		for _, row := range s.rows("a") {
			if row["State"] != "succeeded" || row["Code"] != tiw.CodeNoImage || row["Total"] != "0" || row["Snapshots"] != "" {
				t.Errorf("row %v, want succeeded with code %s and no image", row, tiw.CodeNoImage)
			}
		}
	})
	t.Run("fewer images", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, tiwtest.Options{
			Faults: tiwtest.Faults{Shapes: map[tiwtest.Shape]float64{tiwtest.ShapeFewerImages: 1}},
		})
		s.startWorker()
		s.enqueueBatch("a", 1)
		s.mustRun("wait", "a")
		s.checkRun(exitOK, "images missing  3", "status", "a")
		s.checkRun(exitOK, "according to Tencent", "status", "a.1")
		for _, row := range s.rows("a") {
			urls := len(strings.Fields(row["Snapshots"]))
			if row["Total"] != string(rune('0'+urls+3)) || row["Code"] != "" {
				t.Errorf("row with %d image URLs: %v, want Total %d", urls, row, urls+3)
			}
		}
	})
}
