package results_test

import (
	"encoding/csv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/enqueue"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/results"
	"tiwsnap/tasks"
)

func TestBatchFromRow(t *testing.T) {
	rdb := redistest.Client(t)
	_, err := enqueue.New(rdb, keys.Default).Batch(t.Context(), func(yield func(tasks.Room, error) bool) {
		for id := range uint64(1100) {
			if !yield(tasks.Room{RoomId: id + 1, Label: map[string]string{"Sum": "=1+1"}}, nil) {
				return
			}
		}
	}, enqueue.BatchOptions{ID: "b", Defaults: tasks.Room{SdkAppId: 7}})
	if err != nil {
		t.Fatal(err)
	}
	l, r := ledger.New(rdb, ledger.Options{}), results.NewReader(rdb, keys.Default)
	b, err := l.Batch(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	for _, first := range []int{1, 2, 512, 513, 1100, 1101} {
		var got []string
		for s, err := range r.Batch(t.Context(), b, first, 1100) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, s.ID)
		}
		var want []string
		for n := first; n <= 1100; n++ {
			want = append(want, tasks.RowID("b", n))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("rows from %d (-want +got):\n%s", first, diff)
		}
	}

	var list strings.Builder
	if err := results.WriteCSV(&list, b.Labels, r.Batch(t.Context(), b, 1100, 1)); err != nil {
		t.Fatal(err)
	}
	lines, err := csv.NewReader(strings.NewReader(list.String())).ReadAll()
	if err != nil || len(lines) != 2 || lines[0][11] != "Label.Sum" || lines[1][0] != "b.1100" || lines[1][11] != "'=1+1" {
		t.Errorf("WriteCSV() of the last row = %q, %v", lines, err)
	}
}
