package results_test

import (
	"strings"
	"testing"

	"tiwsnap/ledger"
	"tiwsnap/results"
)

func TestCSVText(t *testing.T) {
	for _, text := range []string{"", "3B", "数学", "https://x/=1", "'a", "'", "a=1", " =1"} {
		if got := results.CSVText(text); got != text {
			t.Errorf("CSVText(%q) = %q, want it unchanged", text, got)
		}
	}
	for _, first := range "=+-@\t\r\n＝＋－＠" {
		if text := string(first) + "1"; results.CSVText(text) != "'"+text || results.CSVText("'"+text) != "''"+text {
			t.Errorf("CSVText(%q) = %q, want an apostrophe before it", text, results.CSVText(text))
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
		t.Errorf("WriteCSV() row = %q", row)
	}
}
