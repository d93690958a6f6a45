package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xuri/excelize/v2"

	"tiwsnap/internal/needs"
	"tiwsnap/tiw/tiwtest"
)

// A result list for people opens in a spreadsheet. Every result list can be enqueued again unchanged.
func TestResultListsForSpreadsheets(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	s.environ["TZ"] = "Asia/Shanghai"
	s.startWorker()
	list := "SdkAppId,RoomId,Label.Class,Label.Sum,Whiteboard.Width\n1400123480,7,高二（3）班,=1+1,\n1400123480,8,3B,,640\n"
	s.mustRun("enqueue", "batch", s.file("class.csv", list), "--name", "monday", "--wait")

	excel := s.mustRun("status", "monday", "-o", "csv", "--excel")
	header, rows := parseCSV(t, strings.TrimPrefix(excel, "\ufeff"))
	ended, ok := header["Ended (Asia/Shanghai)"]
	if !strings.HasPrefix(excel, "\ufeffSnapshot,") || !ok || len(rows) != 2 || !strings.Contains(rows[0][ended], " ") {
		t.Errorf("CSV for Excel: %q", excel)
	}
	if url := rows[0][header["Image1"]]; !strings.HasPrefix(url, "http://") || strings.Contains(url, " ") {
		t.Errorf("Image1 = %q, want a URL", url)
	}
	if _, ok := header["Whiteboard.Height"]; ok || rows[1][header["Whiteboard.Width"]] != "640" {
		t.Errorf("columns of the CSV for Excel: %q", excel)
	}
	book := s.mustRun("status", "monday", "-o", "xlsx", "--tz", "Europe/Berlin")
	f, err := excelize.OpenReader(strings.NewReader(book))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if lines, err := f.GetRows("Snapshots"); err != nil || len(lines) != 3 || lines[0][10] != "Ended (Europe/Berlin)" ||
		lines[1][11] != "高二（3）班" {
		t.Errorf("workbook has %q (%v)", lines, err)
	}
	s.mustRun("status", "monday.1", "-o", "xlsx")

	for name, args := range map[string][]string{
		"plain.csv": {"-o", "csv"}, "excel.csv": {"-o", "csv", "--excel"}, "list.jsonl": {"-o", "jsonl"},
		"book.xlsx": {"-o", "xlsx"},
	} {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, []byte(s.mustRun(append([]string{"status", "monday"}, args...)...)), 0o600); err != nil {
			t.Fatal(err)
		}
		again, _, _ := strings.Cut(name, ".")
		code, _, errs := s.run("", "enqueue", "batch", file, "--name", again)
		if code != exitOK || strings.Count(errs, "is a result list") != 1 {
			t.Errorf("%s: exit code %d: %s", name, code, errs)
		}
		header, rows := parseCSV(t, s.mustRun("status", again, "-o", "csv"))
		if len(rows) != 2 || rows[0][header["RoomId"]] != "7" || rows[0][header["Label.Sum"]] != "'=1+1" ||
			rows[0][header["Label.Class"]] != "高二（3）班" ||
			rows[0][header["Whiteboard.Width"]] != "" || rows[1][header["Whiteboard.Width"]] != "640" {
			t.Errorf("%s enqueued again: %q", name, rows)
		}
	}

	for _, test := range []struct{ args, message string }{
		{"status -o xlsx", "needs the id of a batch"},
		{"status monday -o jsonl --excel", "works only with -o csv"},
		{"status monday -o csv --tz UTC", "--tz works only with"},
		{"status monday -o xlsx --tz Mars/Olympus", `--tz "Mars/Olympus": it must be a time zone`},
		{"status nothing -o xlsx", "there is no snapshot or batch nothing"},
	} {
		code, _, errs := s.run("", strings.Fields(test.args)...)
		if code != exitUsage || !strings.Contains(errs, test.message) {
			t.Errorf("%s: exit code %d: %s", test.args, code, errs)
		}
	}
}
