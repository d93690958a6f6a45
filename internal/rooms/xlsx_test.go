package rooms_test

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/xuri/excelize/v2"

	"tiwsnap/internal/needs"
	"tiwsnap/internal/rooms"
)

// workbook returns an .xlsx file with a sheet of these rows, changed by the functions.
func workbook(t testing.TB, rows [][]any, change ...func(f *excelize.File, sheet string)) []byte {
	t.Helper()
	f := excelize.NewFile()
	defer f.Close()
	for i, row := range rows {
		if err := f.SetSheetRow("Sheet1", fmt.Sprintf("A%d", i+1), &row); err != nil {
			t.Fatal(err)
		}
	}
	for _, do := range change {
		do(f, "Sheet1")
	}
	var b bytes.Buffer
	if err := f.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// withFormat sets the number format of cells.
func withFormat(format string, cells ...string) func(*excelize.File, string) {
	return func(f *excelize.File, sheet string) {
		id, err := f.NewStyle(&excelize.Style{CustomNumFmt: &format})
		if err != nil {
			panic(err)
		}
		for _, c := range cells {
			if err := f.SetCellStyle(sheet, c, c, id); err != nil {
				panic(err)
			}
		}
	}
}

var header = []any{"SdkAppId", "RoomId", "Label.Class"}

func TestWorkbooks(t *testing.T) {
	day := time.Date(2026, 11, 23, 8, 30, 0, 0, time.UTC)
	for _, tt := range []struct {
		name   string
		rows   [][]any
		change []func(*excelize.File, string)
		sheet  string
		want   []string
	}{
		{name: "numbers, texts and empty rows", rows: [][]any{header, {1, 2, "三年级"}, {}, {1, "3"}, {nil, 4, "x"}, {1, 5,
			" y "}}, want: []string{
			`2 {"SdkAppId":1,"RoomId":2,"Label":{"Class":"三年级"}}`, room(4, 3), "line 5, column 1: SdkAppId is missing",
			`6 {"SdkAppId":1,"RoomId":5,"Label":{"Class":" y "}}`}},
		{name: "a title, unnamed columns, a repeated header", rows: [][]any{{"Autumn"}, {}, {"sdk app id", nil,
			"ROOM_ID"}, {1, nil, 2}, {"sdk app id", nil, "ROOM_ID"}, {1, nil, 3, nil, "x"}, {1, nil, 4}},
			want: []string{room(4, 2),
				`line 6, column 5: "x" is in a column without a name: name it in the header, or delete it`, room(7, 4),
				"note: line 1: skipped, as it stands before the header: Autumn", "note: line 5: the header again, skipped"}},
		{name: "number formats do not round RoomId", rows: [][]any{header, {1400123480, 900230, 1234.5},
			{1400123480, 900231, 0.5}, {1400123480, 900232, 7}},
			change: []func(*excelize.File, string){withFormat("#,##0.00", "A2", "B2", "C2"), withFormat("0.0E+00", "A3", "B3"),
				withFormat("0%", "C3"), withFormat("0,", "B4")},
			want: []string{`2 {"SdkAppId":1400123480,"RoomId":900230,"Label":{"Class":"1,234.50"}}`,
				`3 {"SdkAppId":1400123480,"RoomId":900231,"Label":{"Class":"50%"}}`,
				`4 {"SdkAppId":1400123480,"RoomId":900232,"Label":{"Class":"7"}}`}},
		{name: "dates", rows: [][]any{header, {1, 2, day}, {1, 46349, "x"}, {1, 46350, 46349}},
			change: []func(*excelize.File, string){withFormat("yyyy\\-mm\\-dd", "B3", "C4"), withFormat("m/d/yyyy", "B4")},
			want: []string{
				`2 {"SdkAppId":1,"RoomId":2,"Label":{"Class":"2026-11-23 08:30"}}`,
				`line 3, column 2: RoomId is shown as "2026-11-23": format the column as a number or as text`,
				`line 4, column 2: RoomId is shown as "11/24/2026": format the column as a number or as text`}},
		{name: "long numbers", rows: [][]any{header, {1, "18446744073709551615"}, {1, uint64(9007199254740993)}, {1, 1.5}, {1,
			uint64(18446744073709551615)}, {1, 900.0}},
			want: []string{room(2, -1),
				`line 3, column 2: RoomId is "9007199254740993", of which spreadsheets keep 15 digits: format the column as text`,
				`line 4, column 2: RoomId is "1.5", it must be a whole number`,
				`line 5, column 2: RoomId is "18446744073709551615", of which spreadsheets keep 15 digits: format ` +
					`the column as text`,
				room(6, 900),
				"note: line 2: the first of 1 room with a RoomId above 4294967295, which other whiteboard APIs do not take"}},
		{name: "booleans, errors and formulas", rows: [][]any{header, {1, true}, {1, "#N/A"}, {1, 4}, {1, nil}},
			change: []func(*excelize.File, string){func(f *excelize.File, s string) {
				f.SetCellFormula(s, "B4", "=2+2") // with a cached value
				f.SetCellFormula(s, "B5", "=2+3") // without a cached value
			}},
			want: []string{`line 2, column 2: RoomId is shown as "TRUE": format the column as a number or as text`,
				`line 3, column 2: RoomId is "#N/A", it must be a whole number`,
				room(4, 4), "line 5, column 2: RoomId is missing"}},
		{name: "the first visible sheet", rows: [][]any{{"hidden"}},
			change: []func(*excelize.File, string){twoSheets, func(f *excelize.File,
				s string) {
				f.SetActiveSheet(1)
				f.SetSheetVisible(s, false)
			}},
			want: []string{room(2, 2),
				"note: of the 2 sheets of the workbook the first is read, Monday; others need --sheet, or sheet= in " +
					"a URL: Sheet1, Monday"}},
		{name: "a sheet by name", rows: [][]any{{"x"}}, change: []func(*excelize.File, string){twoSheets}, sheet: "monday",
			want: []string{room(2, 2)}},
		{name: "an unknown sheet", rows: [][]any{{"x"}}, change: []func(*excelize.File, string){twoSheets}, sheet: "Friday",
			want: []string{`the workbook has no sheet "Friday"; it has: Sheet1, Monday`}},
		{name: "an empty sheet", want: []string{"the file is empty"}},
		{name: "a header only", rows: [][]any{header}, want: []string{"the file has a header and no rows"}},
		{name: "CSV rows in one column", rows: [][]any{{"SdkAppId,RoomId"}, {"1,2"}}, want: []string{
			`line 1, column 1: "SdkAppId,RoomId" is not a known column, a label has a name like Label.SdkAppId,RoomId`}},
		{name: "a row that is too long", rows: [][]any{{"SdkAppId", "RoomId", "Label.A", "Label.B", "Label.C", "Label.D",
			"Label.E"},
			{1, 2, longText, longText, longText, longText, longText}, {1, 3}},
			want: []string{"line 2: the row is longer than 128 KiB", room(3, 3)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			file := workbook(t, tt.rows, tt.change...)
			for i, w := range tt.want {
				tt.want[i] = strings.Replace(w, `"RoomId":-1`, `"RoomId":18446744073709551615`, 1)
			}
			for _, format := range []rooms.Format{rooms.Auto, rooms.CSV, rooms.JSONLines} {
				checkLines(t, tt.want, readWithNotes(bytes.NewReader(file), rooms.Options{Format: format, Sheet: tt.sheet}))
			}
			checkNoTempFiles(t)
		})
	}
}

var longText = strings.Repeat("x", 30_000)

func twoSheets(f *excelize.File, _ string) {
	f.NewSheet("Monday")
	f.SetSheetRow("Monday", "A1", &[]any{"SdkAppId", "RoomId"})
	f.SetSheetRow("Monday", "A2", &[]any{1, 2})
}

// checkNoTempFiles fails the test if TMPDIR is not empty.
func checkNoTempFiles(t *testing.T) {
	t.Helper()
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("temporary files are left: %v, %v", left, err)
	}
}

// replaceParts returns the archive with the contents of some parts replaced. nil removes a part.
func replaceParts(t testing.TB, file []byte, parts map[string][]byte) []byte {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	add := func(name string, content io.Reader) {
		if p, err := w.Create(name); err != nil {
			t.Fatal(err)
		} else if _, err := io.Copy(p, content); err != nil {
			t.Fatal(err)
		}
	}
	for _, part := range z.File {
		if _, other := parts[part.Name]; other {
			continue
		}
		r, err := part.Open()
		if err != nil {
			t.Fatal(err)
		}
		add(part.Name, r)
	}
	for name, content := range parts {
		if content != nil {
			add(name, bytes.NewReader(content))
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const sheetXML = `<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>` +
	`<row><c t="inlineStr"><is><t>SdkAppId</t></is></c><c ` +
	`t="inlineStr"><is><t>RoomId</t></is></c></row><row><c><v>1</v></c><c><v>2</v></c></row>`

// A damaged workbook is never accepted as a complete list, and one that is too large when unpacked is rejected.
func TestInvalidWorkbooks(t *testing.T) {
	needs.Time(t)
	t.Setenv("TMPDIR", t.TempDir())
	file := workbook(t, [][]any{header, {1, 2, "x"}})
	const sheet, texts = "xl/worksheets/sheet1.xml", "xl/sharedStrings.xml"
	with := func(parts map[string][]byte) []byte { return replaceParts(t, file, parts) }
	flipped := replaceParts(t, file, map[string][]byte{sheet: []byte(sheetXML + "</sheetData></worksheet>")})
	stored := bytes.Clone(flipped)
	stored[bytes.LastIndex(stored[:bytes.Index(stored, []byte("PK\x01\x02"))],
		[]byte("PK\x07\x08"))+5] ^= 1 // in the checksum of the last part
	for _, tt := range []struct {
		name string
		file []byte
		want string
	}{
		{"truncated", file[:len(file)-100], "the file is a damaged .xlsx or zip archive"},
		{"a truncated sheet", with(map[string][]byte{sheet: []byte(sheetXML)}),
			"the workbook is damaged: xl/worksheets/sheet1.xml: XML syntax error"},
		{"truncated texts", with(map[string][]byte{texts: []byte("<sst><si><t>SdkAppId</t></si>")}),
			"the workbook is damaged: xl/sharedStrings.xml"},
		{"a wrong checksum", stored, "the workbook is damaged: xl/worksheets/sheet1.xml: zip: checksum error"},
		{"a missing sheet", with(map[string][]byte{sheet: nil}), "cannot be read"},
		{"no workbook", with(map[string][]byte{"xl/workbook.xml": nil}),
			"the file is a zip archive without a workbook (.xlsx): save the list as"},
		{"an .ods", with(map[string][]byte{"xl/workbook.xml": nil, "content.xml": []byte("<x/>")}),
			"the file is an OpenDocument file (.ods): save the list as"},
		{"an .xlsb", with(map[string][]byte{"xl/workbook.xml": nil, "xl/workbook.bin": {1}}),
			"the file is a binary workbook (.xlsb): save the list as"},
		{"an encoding other than UTF-8",
			with(map[string][]byte{sheet: []byte(`<?xml version="1.0" encoding="GBK"?>` + sheetXML)}),
			`it is in GBK, not in UTF-8`},
		{"a cell of 1 MB", with(map[string][]byte{sheet: []byte(sheetXML + "<row><c><v>" + strings.Repeat("7",
			1<<20) + "</v></c></row></sheetData></worksheet>")}),
			"the workbook is damaged: xl/worksheets/sheet1.xml: a cell is longer than 128 KiB"},
		{"pictures of 17 MB", with(map[string][]byte{"xl/media/a.png": make([]byte, 9<<20), "xl/media/b.png": make([]byte,
			8<<20)}), "the workbook is too large when it is unpacked"},
		{"a zip bomb", with(map[string][]byte{"xl/worksheets/sheet2.xml": append([]byte("<x>"), bytes.Repeat([]byte("<y/>\n"),
			52<<20)...)}), "the workbook is too large when it is unpacked"},
		{"more than a million texts",
			with(map[string][]byte{texts: []byte("<sst>" + strings.Repeat("<si/>", 1<<20+1) + "</sst>")}),
			"the workbook has more than 1048576 different texts"},
		{"too large", append(bytes.Clone(file), make([]byte, 16<<20)...),
			`the workbook is larger than 16 MB: save the sheet as "CSV UTF-8"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := readWithNotes(bytes.NewReader(tt.file), rooms.Options{})
			if len(got) != 1 || !strings.Contains(got[0], tt.want) {
				t.Errorf("got %.300q, want an error with %q", got, tt.want)
			}
			checkNoTempFiles(t)
		})
	}
	t.Run("a read error", func(t *testing.T) {
		broken := errors.New("disk on fire")
		r := io.MultiReader(bytes.NewReader(file[:2000]), iotest.ErrReader(broken))
		for _, err := range rooms.Read(r, rooms.Options{}) {
			if !errors.Is(err, broken) {
				t.Errorf("got %v, want the read error", err)
			}
		}
		checkNoTempFiles(t)
	})
	t.Run("no folder for temporary files", func(t *testing.T) {
		t.Setenv("TMPDIR", "/nonexistent")
		got := readWithNotes(bytes.NewReader(file), rooms.Options{})
		if len(got) != 1 || !strings.Contains(got[0], "a workbook needs a folder for temporary files (TMPDIR)") {
			t.Errorf("got %q, want an error that names TMPDIR", got)
		}
	})
	t.Run("a caller that stops", func(t *testing.T) {
		for range rooms.Read(bytes.NewReader(file), rooms.Options{}) {
			break
		}
		checkNoTempFiles(t)
	})
}

// A workbook of 50,000 rows with a different text in each needs little memory.
func TestWorkbookMemoryUse(t *testing.T) {
	needs.Time(t)
	const n, most = 50_000, 24 << 20
	f := excelize.NewFile()
	defer f.Close()
	w, err := f.NewStreamWriter("Sheet1")
	if err != nil {
		t.Fatal(err)
	}
	w.SetRow("A1", header)
	for i := range n {
		w.SetRow(fmt.Sprintf("A%d", i+2), []any{1400123480, uint32(i+1) * 2654435769, fmt.Sprintf("class %d", i)})
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	path := t.TempDir() + "/list.xlsx"
	if err := f.SaveAs(path); err != nil {
		t.Fatal(err)
	}
	f.Close()
	in, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	runtime.GC()
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	rows, peak := 0, uint64(0)
	start := time.Now()
	for _, err := range rooms.Read(in, rooms.Options{}) {
		if err != nil {
			t.Fatal(err)
		}
		if rows++; rows%5000 == 0 {
			runtime.ReadMemStats(&now)
			peak = max(peak, now.HeapAlloc-min(now.HeapAlloc, before.HeapAlloc))
		}
	}
	info, _ := in.Stat()
	t.Logf("%d rows of %d kB in %s, %d MB of heap at most", rows, info.Size()>>10, time.Since(start), peak>>20)
	if rows != n || peak == 0 || peak > most {
		t.Errorf("read %d rows with %d bytes of heap, want %d with at most %d", rows, peak, n, most)
	}
}
