package results_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/xuri/excelize/v2"

	"tiwsnap/internal/needs"
	"tiwsnap/internal/rooms"
	"tiwsnap/ledger"
	"tiwsnap/results"
	"tiwsnap/tasks"
)

var (
	labelTexts = []string{
		"高二（3）班", "=1+1", "+49", "-x", "@SUM(A1)", "＝1", "a,b;c\"d\"", "'quoted'", " blank ", "=HYPERLINK(\"x\")",
		"1e5", "007",
	}
	labelNames = []string{"Class", "Note", "=x"}
)

// sampleResults returns the results of a batch. Their labels look like formulas,
// some have images, and some have their own parameters.
func sampleResults() []results.Result {
	at := time.Date(2026, 11, 23, 10, 45, 3, 0, time.UTC)
	var all []results.Result
	for i, text := range labelTexts {
		room := tasks.Room{SdkAppId: 1400123480, RoomId: uint64(i + 1), Label: map[string]string{"Class": text, "=x": "y"}}
		if i%2 == 0 {
			room.Label["Note"] = "n"
		}
		switch i {
		case 2:
			room.SnapshotMode = "LatestMarksOnly"
			room.Whiteboard = &tasks.Whiteboard{Width: new(uint64(0)), Height: new(uint64(2)), InitParams: `{"a": "=1"}`}
		case 3:
			room.RoomId = tasks.MaxDocumentedRoomID
			room.COS = &tasks.COS{Uin: 100012345678, Region: "ap-guangzhou", Bucket: "b-1250000000", TargetDir: "-x/=y",
				Domain: "d.example"}
		case 4:
			room.CallbackURL = "https://hooks.example/secret"
			room.SdkAppId = 1<<53 + 1
		}
		s := ledger.Snapshot{ID: fmt.Sprintf("monday.%d", i+1), Batch: "monday", Room: room, State: ledger.Succeeded,
			Attempts: 1, SentAt: at, EndedAt: at.Add(time.Second)}
		for n := range i % 4 {
			s.Images = append(s.Images, fmt.Sprintf("https://b.example/%d/%d.png", i, n))
		}
		if i == 0 {
			s.State, s.Code, s.Message = ledger.Failed, "FailedOperation.Transcode", "=broken"
		}
		all = append(all, results.Explain(s))
	}
	return all
}

func seq(all []results.Result) iter.Seq2[results.Result, error] {
	return func(yield func(results.Result, error) bool) {
		for _, r := range all {
			if !yield(r, nil) {
				return
			}
		}
	}
}

func newSheet(t *testing.T, zone string, all []results.Result) *results.Sheet {
	t.Helper()
	at, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	s, err := results.NewSheet(labelNames, at, seq(all))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// A result list can be enqueued again unchanged. It has the same rooms with all their
// parameters, and one note names what is left out.
func TestResultListsCanBeEnqueued(t *testing.T) {
	all := sampleResults()
	for name, write := range map[string]func(w io.Writer) error{
		"CSV":           func(w io.Writer) error { return results.WriteCSV(w, labelNames, seq(all)) },
		"CSV for Excel": newSheet(t, "Asia/Shanghai", all).WriteCSV,
		"a workbook":    newSheet(t, "Asia/Shanghai", all).WriteXLSX,
		"JSON lines": func(w io.Writer) error {
			enc := json.NewEncoder(w)
			for _, r := range all {
				if err := enc.Encode(r); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			var list bytes.Buffer
			if err := write(&list); err != nil {
				t.Fatal(err)
			}
			var notes []string
			var got []tasks.Room
			for row, err := range rooms.Read(bytes.NewReader(list.Bytes()),
				rooms.Options{Notes: func(n rooms.Note) { notes = append(notes, n.String()) }}) {
				if err != nil {
					t.Error(err)
				}
				got = append(got, row.Room)
			}
			var want []tasks.Room
			for _, r := range all {
				r.Room.CallbackURL = "" // a list has only its host
				want = append(want, r.Room)
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("rooms (-want +got):\n%s\nof the list\n%s", diff, list.String())
			}
			if len(notes) != 1 || !strings.Contains(notes[0], "is a result list") {
				t.Errorf("notes %q, want one: is a result list", notes)
			}
		})
	}
}

// Only a result list may have the columns of one. In other lists they might be meant as
// labels.
func TestOtherListsRejectResultColumns(t *testing.T) {
	for _, list := range []string{"SdkAppId,RoomId,State\n1,2,Bavaria\n", `{"SdkAppId":1,"RoomId":2,"state":"Bavaria"}`,
		`{"room":7,"SdkAppId":1,"RoomId":2}`} {
		for _, err := range rooms.Read(strings.NewReader(list), rooms.Options{}) {
			if err == nil {
				t.Errorf("Read() accepts %s", list)
			}
		}
	}
}

func TestExcelCSV(t *testing.T) {
	var list bytes.Buffer
	if err := newSheet(t, "Asia/Shanghai", sampleResults()).WriteCSV(&list); err != nil {
		t.Fatal(err)
	}
	text, ok := strings.CutPrefix(list.String(), "\ufeff")
	if !ok {
		t.Error("the list has no byte order mark")
	}
	lines, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Split("Snapshot,SdkAppId,RoomId,State,Code,Message,TaskID,RequestId,Attempts,Sent "+
		"(Asia/Shanghai),Ended (Asia/Shanghai),"+
		"Label.Class,Label.Note,Label.=x,SnapshotMode,Whiteboard.Width,Whiteboard.Height,Whiteboard.InitParams,"+
		"COS.Uin,COS.Region,COS.Bucket,COS.TargetDir,COS.Domain,"+
		"Total,Image1,Image2,Image3", ",")
	if diff := cmp.Diff(want, lines[0]); diff != "" {
		t.Errorf("columns (-want +got):\n%s", diff)
	}
	column := func(name string) int { return slices.Index(lines[0], name) }
	if row := lines[1]; row[column("Message")] != "'=broken" ||
		row[column("Ended (Asia/Shanghai)")] != "2026-11-23 18:45:04" || row[column("Image1")] != "" {
		t.Errorf("row 1 = %q", row)
	}
	if row := lines[4]; row[column("Total")] != "3" || row[column("Image1")] != "https://b.example/3/0.png" ||
		row[column("Image3")] != "https://b.example/3/2.png" {
		t.Errorf("row 4 = %q", row)
	}
}

// A workbook stores texts as texts, whatever they look like. It stores a number as a
// number if that is exact, and times in local time.
func TestXLSX(t *testing.T) {
	all := sampleResults()
	var b bytes.Buffer
	if err := newSheet(t, "Asia/Shanghai", all).WriteXLSX(&b); err != nil {
		t.Fatal(err)
	}
	f, err := excelize.OpenReader(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines, err := f.GetRows("Snapshots", excelize.Options{RawCellValue: true})
	if err != nil || len(lines) != len(all)+1 {
		t.Fatalf("workbook has %d lines, want %d (%v)", len(lines), len(all)+1, err)
	}
	at := map[string]string{}
	for i, name := range lines[0] {
		at[name], _ = excelize.ColumnNumberToName(i + 1)
	}
	checkCell := func(name string, row int, kind excelize.CellType, want string) {
		t.Helper()
		ref := fmt.Sprint(at[name], row)
		got, err := f.GetCellValue("Snapshots", ref)
		gotKind, _ := f.GetCellType("Snapshots", ref)
		formula, _ := f.GetCellFormula("Snapshots", ref)
		if got != want || gotKind != kind || formula != "" || err != nil {
			t.Errorf("%s is %q of type %d, formula %q, %v; want %q of type %d", name, got, gotKind, formula, err, want, kind)
		}
	}
	const text, number = excelize.CellTypeInlineString, excelize.CellTypeUnset
	for i, r := range all {
		checkCell("Label.Class", i+2, text, r.Room.Label["Class"])
		checkCell("Snapshot", i+2, text, r.ID)
	}
	checkCell("Message", 2, text, "=broken")
	checkCell("SdkAppId", 2, number, "1400123480")
	checkCell("SdkAppId", 6, text, "9007199254740993")
	checkCell("RoomId", 5, number, "4294967295")
	checkCell("Ended (Asia/Shanghai)", 2, number, "2026-11-23 18:45:04")
	checkCell("Image3", 5, text, "https://b.example/3/2.png")
	checkCell("COS.Uin", 5, text, "100012345678")
	if raw, err := f.GetCellValue("Snapshots", fmt.Sprint(at["Ended (Asia/Shanghai)"], 2),
		excelize.Options{RawCellValue: true}); err != nil || !strings.HasPrefix(raw, "46349.78") {
		t.Errorf("the time is stored as %s, %v", raw, err)
	}
}

// A long list takes little memory and leaves no file.
func TestSheetMemoryIsBounded(t *testing.T) {
	needs.Time(t)
	const n, most = 60_000, 56 << 20
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	one := sampleResults()[3]
	one.Images = slices.Repeat([]string{strings.Repeat("https://b.example/", 8)}, 3)
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	peak := uint64(0)
	measure := func(i int) {
		if i%1000 == 0 {
			runtime.ReadMemStats(&now)
			peak = max(peak, now.HeapAlloc-min(now.HeapAlloc, before.HeapAlloc))
		}
	}
	s, err := results.NewSheet(labelNames, time.UTC, func(yield func(results.Result, error) bool) {
		for i := range n {
			if measure(i); !yield(one, nil) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	size, writes := 0, 0
	if err := s.WriteXLSX(writerFunc(func(p []byte) (int, error) {
		size += len(p)
		writes++
		measure(writes * 100)
		return len(p), nil
	})); err != nil {
		t.Fatal(err)
	}
	s.Close()
	t.Logf("%d rows, %d MB, %d MB of heap at most", n, size>>20, peak>>20)
	if size < 1<<20 || peak > most {
		t.Errorf("%d MB with %d MB of heap, want at most %d", size>>20, peak>>20, most>>20)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
		t.Errorf("temporary files are left: %v", left)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// A list beyond the limits of Excel is refused, not truncated.
func TestSheetLimits(t *testing.T) {
	checkRefused := func(all iter.Seq2[results.Result, error], message string) {
		t.Helper()
		s, err := results.NewSheet(nil, time.UTC, all)
		if err == nil {
			defer s.Close()
			err = s.WriteXLSX(io.Discard)
		}
		var own *results.SheetError
		if !errors.As(err, &own) || !strings.Contains(err.Error(), message) {
			t.Errorf("error %v, want %s", err, message)
		}
	}
	wide := results.Result{Snapshot: ledger.Snapshot{Images: make([]string, 16_384)}}
	checkRefused(seq([]results.Result{wide}), "columns")
	long := results.Result{Snapshot: ledger.Snapshot{ID: "b.1", Message: strings.Repeat("m", 32_768)}}
	checkRefused(seq([]results.Result{long}), "Message of snapshot b.1 has 32768 bytes")
	if *results.MaxSheetRows != 1_048_576 {
		t.Errorf("MaxSheetRows = %d, want 1048576", *results.MaxSheetRows)
	}
	defer func(was int) { *results.MaxSheetRows = was }(*results.MaxSheetRows)
	*results.MaxSheetRows = len(sampleResults()) + 1
	newSheet(t, "UTC", sampleResults()) // with the header
	*results.MaxSheetRows--
	checkRefused(seq(sampleResults()), fmt.Sprintf("more than %d rows", len(sampleResults())-1))
}

// A temporary file that cannot be created is an error.
func TestSheetWithoutTempFolder(t *testing.T) {
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "none"))
	one := sampleResults()[0]
	one.Room.Label = maps.Clone(one.Room.Label)
	one.Room.Label["Class"] = strings.Repeat("x", 1000)
	_, err := results.NewSheet(labelNames, time.UTC, seq(slices.Repeat([]results.Result{one}, 1000)))
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("NewSheet() = %v, want ErrNotExist", err)
	}
}
