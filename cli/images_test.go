package cli

import (
	"strings"
	"testing"

	"tiwsnap/internal/needs"
	"tiwsnap/tiw"
	"tiwsnap/tiw/tiwtest"
)

// Every command shows which snapshots succeeded without an image, or with fewer images than Tencent counts.
func TestImagesThatLack(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	t.Run("none", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, tiwtest.Options{Faults: tiwtest.Faults{Shapes: map[tiwtest.Shape]float64{tiwtest.ShapeNoImages: 1}}})
		s.worker()
		s.batch("a", 2)
		s.says(exitOK, "2 without an image", "wait", "a")
		s.says(exitOK, "of them without an image  2", "status", "a")
		s.says(exitOK, `"no_image": 2`, "status", "a", "-o", "json")
		s.says(exitOK, "result     "+tiw.CodeNoImage, "status", "a.1")
		s.says(exitOK, "addSnapshotMark", "status", "a.1")
		if header, rows := table(t, s.ok("status", "-o", "csv")); rows[0][header["NO IMAGE"]] != "2" {
			t.Errorf("%v", rows)
		}
		for _, row := range s.rows("a") {
			if row["State"] != "succeeded" || row["Code"] != tiw.CodeNoImage || row["Total"] != "0" || row["Snapshots"] != "" {
				t.Errorf("%v", row)
			}
		}
	})
	t.Run("some", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, tiwtest.Options{
			Faults: tiwtest.Faults{Shapes: map[tiwtest.Shape]float64{tiwtest.ShapeFewerImages: 1}},
		})
		s.worker()
		s.batch("a", 1)
		s.ok("wait", "a")
		s.says(exitOK, "images missing  3", "status", "a")
		s.says(exitOK, "according to Tencent", "status", "a.1")
		for _, row := range s.rows("a") {
			named := len(strings.Fields(row["Snapshots"]))
			if row["Total"] != string(rune('0'+named+3)) || row["Code"] != "" {
				t.Errorf("%d images are named: %v", named, row)
			}
		}
	})
}

// rows returns the rows of a batch's result list, by column.
func (s site) rows(batch string) (all []map[string]string) {
	s.Helper()
	header, rows := table(s.T, s.ok("status", batch, "-o", "csv"))
	for _, cells := range rows {
		row := make(map[string]string)
		for name, i := range header {
			row[name] = cells[i]
		}
		all = append(all, row)
	}
	return all
}
