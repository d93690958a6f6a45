package results_test

import (
	"encoding/csv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"tiwsnap/enqueue"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/results"
	"tiwsnap/tasks"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(redistest.Both(m)) }

func TestPace(t *testing.T) {
	at := time.Now()
	batch := func(done int) ledger.Batch { return ledger.Batch{Total: 100, Succeeded: done} }
	var p results.Pace
	look := func(after time.Duration, done int, rate float64) {
		t.Helper()
		at = at.Add(after)
		p.Add(at, batch(done))
		if got := p.Rate(); got != rate {
			t.Errorf("rate %g, want %g", got, rate)
		}
	}
	look(0, 0, 0)
	look(9*time.Second, 0, 0) // nothing yet
	look(time.Second, 10, 0)  // the first results: their start is unknown
	look(time.Second, 20, 10)
	look(time.Second, 40, 15)
	look(5*time.Second, 40, 0) // nothing in the last seconds
	look(time.Second, 30, 0)   // some were retried
	look(time.Second, 35, 5)
	if left := results.Left(batch(35), p.Rate()); left != 13*time.Second {
		t.Errorf("%s left", left)
	}
	if left := results.Left(batch(35), 0); left != 0 {
		t.Errorf("%s left at no rate", left)
	}
}

func TestBatchFromARow(t *testing.T) {
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
			t.Errorf("from row %d: %s", first, diff)
		}
	}

	var list strings.Builder
	if err := results.WriteCSV(&list, b.Labels, r.Batch(t.Context(), b, 1100, 1)); err != nil {
		t.Fatal(err)
	}
	lines, err := csv.NewReader(strings.NewReader(list.String())).ReadAll()
	if err != nil || len(lines) != 2 || lines[0][11] != "Label.Sum" || lines[1][0] != "b.1100" || lines[1][11] != "'=1+1" {
		t.Errorf("%q, %v", lines, err)
	}
}

func TestCSVText(t *testing.T) {
	for _, text := range []string{"", "3B", "数学", "https://x/=1", "'a", "'", "a=1", " =1"} {
		if got := results.CSVText(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
	for _, first := range "=+-@\t\r\n＝＋－＠" {
		if text := string(first) + "1"; results.CSVText(text) != "'"+text || results.CSVText("'"+text) != "''"+text {
			t.Errorf("%q is not guarded", text)
		}
	}
	var list strings.Builder
	bad := results.Result{Snapshot: ledger.Snapshot{ID: "s-1", Code: "@code", TaskID: "+task", RequestID: "＝id",
		Message: "-m", Images: []string{"=cmd()", "https://x"}}}
	if err := results.WriteCSV(&list, nil, func(yield func(results.Result, error) bool) { yield(bad, nil) }); err != nil {
		t.Fatal(err)
	}
	if _, row, _ := strings.Cut(list.String(), "\n"); row != "s-1,0,0,,'@code,'-m,'+task,'＝id,0,2,'=cmd() "+
		"https://x,,,,,,,,,,\n" {
		t.Errorf("%q", row)
	}
}
