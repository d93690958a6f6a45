package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xuri/excelize/v2"

	"tiwsnap/internal/needs"
	"tiwsnap/tiw/tiwtest"
)

// A result list for people opens in a spreadsheet. Every result list can be enqueued again unchanged.
func TestResultListsForPeople(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	s.environ["TZ"] = "Asia/Shanghai"
	s.worker()
	list := "SdkAppId,RoomId,Label.Class,Label.Sum,Whiteboard.Width\n1400123480,7,高二（3）班,=1+1,\n1400123480,8,3B,,640\n"
	s.ok("enqueue", "batch", s.file("class.csv", list), "--name", "monday", "--wait")

	excel := s.ok("status", "monday", "-o", "csv", "--excel")
	header, rows := table(t, strings.TrimPrefix(excel, "\ufeff"))
	ended, ok := header["Ended (Asia/Shanghai)"]
	if !strings.HasPrefix(excel, "\ufeffSnapshot,") || !ok || len(rows) != 2 || !strings.Contains(rows[0][ended], " ") {
		t.Errorf("%q", excel)
	}
	if url := rows[0][header["Image1"]]; !strings.HasPrefix(url, "http://") || strings.Contains(url, " ") {
		t.Errorf("Image1 is %q", url)
	}
	if _, ok := header["Whiteboard.Height"]; ok || rows[1][header["Whiteboard.Width"]] != "640" {
		t.Errorf("%q", excel)
	}
	f, err := excelize.OpenReader(bytes.NewReader([]byte(s.ok("status", "monday", "-o", "xlsx", "--tz", "Europe/Berlin"))))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if lines, err := f.GetRows("Snapshots"); err != nil || len(lines) != 3 || lines[0][10] != "Ended (Europe/Berlin)" ||
		lines[1][11] != "高二（3）班" {
		t.Errorf("%v, %q", err, lines)
	}
	s.ok("status", "monday.1", "-o", "xlsx")

	for name, args := range map[string][]string{
		"plain.csv": {"-o", "csv"}, "excel.csv": {"-o", "csv", "--excel"}, "list.jsonl": {"-o", "jsonl"},
		"book.xlsx": {"-o", "xlsx"},
	} {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, []byte(s.ok(append([]string{"status", "monday"}, args...)...)), 0o600); err != nil {
			t.Fatal(err)
		}
		again, _, _ := strings.Cut(name, ".")
		code, _, errs := s.run("", "enqueue", "batch", file, "--name", again)
		if code != exitOK || strings.Count(errs, "is a result list") != 1 {
			t.Errorf("%s: exit code %d: %s", name, code, errs)
		}
		header, rows := table(t, s.ok("status", again, "-o", "csv"))
		if len(rows) != 2 || rows[0][header["RoomId"]] != "7" || rows[0][header["Label.Sum"]] != "'=1+1" ||
			rows[0][header["Label.Class"]] != "高二（3）班" ||
			rows[0][header["Whiteboard.Width"]] != "" || rows[1][header["Whiteboard.Width"]] != "640" {
			t.Errorf("%s: %q", name, rows)
		}
	}

	for _, test := range []struct{ args, says string }{
		{"status -o xlsx", "needs the id of a batch"},
		{"status monday -o jsonl --excel", "works only with -o csv"},
		{"status monday -o csv --tz UTC", "--tz works only with"},
		{"status monday -o xlsx --tz Mars/Olympus", `--tz "Mars/Olympus": it must be a time zone`},
		{"status nothing -o xlsx", "there is no snapshot or batch nothing"},
	} {
		if code, _, errs := s.run("", strings.Fields(test.args)...); code != exitUsage || !strings.Contains(errs, test.says) {
			t.Errorf("%s: exit code %d: %s", test.args, code, errs)
		}
	}
}
