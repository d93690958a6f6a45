package results

import (
	"archive/zip"
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/xuri/excelize/v2"

	"tiwsnap/internal/rooms"
	"tiwsnap/internal/spool"
)

// The limits of Excel:
// https://support.microsoft.com/office/1672b34d-7043-467e-8e27-269d656771c3.
var maxSheetRows = 1_048_576 // a variable for the tests

const (
	maxSheetCols  = 16_384
	maxSheetCell  = 32_767              // UTF-16 units of text, compared with bytes, which are never fewer
	maxSheetExact = 999_999_999_999_999 // largest exact whole number
)

// SheetError says why Excel cannot hold a result list.
type SheetError struct{ Reason string }

func (e *SheetError) Error() string { return "Excel cannot hold the list: " + e.Reason }

// Sheet is a result list for spreadsheet programs. It has a column for each image,
// times in a time zone, and columns for the parameters that some room has. Close it.
type Sheet struct {
	rows   spool.Spool // the results in JSON
	n      int
	labels []string
	used   []int // indexes in rooms.Parameters
	images int   // maximum number of images of a snapshot
	copies int   // maximum number of copies of a snapshot
	zone   *time.Location
	lossy  int // results with text that a workbook cannot hold
}

// Lossy returns the number of snapshots with control characters in their text. A
// workbook cannot hold these and has U+FFFD instead. CSV keeps them.
func (s *Sheet) Lossy() int { return s.lossy }

// lossy reports whether XML cannot hold a text (https://www.w3.org/TR/xml/#charsets).
func lossy(v any) bool {
	text, ok := v.(string)
	return ok && strings.ContainsFunc(text, func(r rune) bool {
		return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == '\ufffe' || r == '\uffff'
	})
}

// NewSheet reads a result list to its end, because only then its columns are known.
// Each of labels becomes a column; times are in zone. Errors: a *SheetError, that of
// the list, or of the temporary file that stores a long list.
func NewSheet(labels []string, zone *time.Location, all iter.Seq2[Result, error]) (*Sheet, error) {
	s := &Sheet{labels: labels, zone: zone}
	if err := s.read(all); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Sheet) read(all iter.Seq2[Result, error]) error {
	used := make([]bool, len(rooms.Parameters))
	enc := json.NewEncoder(&s.rows)
	for r, err := range all {
		if err != nil {
			return err
		}
		if s.n++; s.n > maxSheetRows-1 {
			return &SheetError{fmt.Sprintf("it has more than %d rows; CSV has no such limit", maxSheetRows-1)}
		}
		s.images = max(s.images, len(r.Images))
		for i := range r.CopyList {
			if r.CopyList[i].URL != "" {
				s.copies = max(s.copies, i+1)
			}
		}
		for i, v := range rooms.ParameterValues(r.Room) {
			used[i] = used[i] || v != ""
		}
		if slices.ContainsFunc(s.cells(r), lossy) {
			s.lossy++
		}
		if err := enc.Encode(r); err != nil {
			return err
		}
	}
	for i, ok := range used {
		if ok {
			s.used = append(s.used, i)
		}
	}
	if n := len(s.header()); n > maxSheetCols {
		return &SheetError{fmt.Sprintf("it has %d columns, %d of them images; the maximum is %d; CSV has no such limit",
			n, s.images, maxSheetCols)}
	}
	return nil
}

// Close removes the temporary file.
func (s *Sheet) Close() { s.rows.Close() }

func (s *Sheet) header() []string {
	h := []string{
		rooms.ColumnSnapshot, "SdkAppId", "RoomId", rooms.ColumnState, rooms.ColumnCode, rooms.ColumnMessage,
		rooms.ColumnTaskID, rooms.ColumnRequestID, rooms.ColumnAttempts, rooms.ColumnSent(s.zone.String()),
		rooms.ColumnEnded(s.zone.String()),
	}
	for _, l := range s.labels {
		h = append(h, "Label."+l)
	}
	for _, i := range s.used {
		h = append(h, rooms.Parameters[i])
	}
	h = append(h, rooms.ColumnTotal)
	for n := range s.images {
		h = append(h, rooms.ColumnImage(n+1))
	}
	for n := range s.copies {
		h = append(h, rooms.ColumnCopy(n+1))
	}
	return h
}

// cells returns the cells of one row: strings, whole numbers (uint64) and times.
func (s *Sheet) cells(r Result) []any {
	c := []any{
		r.ID, r.Room.SdkAppId, r.Room.RoomId, string(r.State), r.Code, r.Message,
		r.TaskID, r.RequestID, uint64(r.Attempts), r.SentAt, r.EndedAt,
	}
	for _, l := range s.labels {
		c = append(c, r.Room.Label[l])
	}
	values := rooms.ParameterValues(r.Room)
	for _, i := range s.used {
		c = append(c, values[i])
	}
	c = append(c, uint64(total(r)))
	for i := range s.images {
		c = append(c, r.image(i))
	}
	for i := range s.copies {
		c = append(c, r.copyURL(i))
	}
	return c
}

// each calls f with the cells of each row.
func (s *Sheet) each(f func(row []any) error) error {
	return s.Each(func(r Result) error { return f(s.cells(r)) })
}

// Each calls f with each result.
func (s *Sheet) Each(f func(Result) error) error {
	text, err := s.rows.Reader()
	if err != nil {
		return err
	}
	for dec := json.NewDecoder(bufio.NewReader(text)); ; {
		var r Result
		if err := dec.Decode(&r); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read a temporary file: %w", err)
		}
		if err := f(r); err != nil {
			return err
		}
	}
}

// WriteCSV writes the list as CSV for a double click in Excel: UTF-8 with a byte order
// mark.
func (s *Sheet) WriteCSV(w io.Writer) error {
	if _, err := io.WriteString(w, "\ufeff"); err != nil {
		return err
	}
	cw := csv.NewWriter(w)
	header := s.header()
	line := make([]string, len(header))
	for i, name := range header {
		line[i] = CSVText(name)
	}
	if err := writeCSV(cw, line); err != nil {
		return err
	}
	err := s.each(func(row []any) error {
		clear(line)
		for i, v := range row {
			switch v := v.(type) {
			case string:
				line[i] = CSVText(v)
			case uint64:
				line[i] = strconv.FormatUint(v, 10)
			case time.Time:
				if !v.IsZero() {
					line[i] = v.In(s.zone).Format(time.DateTime)
				}
			}
		}
		return writeCSV(cw, line)
	})
	if err != nil {
		return err
	}
	cw.Flush()
	return cw.Error()
}

// WriteXLSX writes the list as a workbook with one worksheet. It needs up to 40 MB of
// memory and a temporary file, however long the list is.
func (s *Sheet) WriteXLSX(w io.Writer) (err error) {
	f := excelize.NewFile()
	defer func() { err = errors.Join(err, f.Close()) }()
	f.SetZipWriter(func(io.Writer) excelize.ZipWriter { return zip.NewWriter(w) }) // else it buffers everything
	const name = "Snapshots"
	if err := f.SetSheetName("Sheet1", name); err != nil {
		return err
	}
	bold, err := f.NewStyle(&excelize.Style{Font: &excelize.Font{Bold: true}})
	if err != nil {
		return err
	}
	whole, err := f.NewStyle(&excelize.Style{NumFmt: 1}) // "0": else Excel shows long numbers as 1.4E+09
	if err != nil {
		return err
	}
	clock, err := f.NewStyle(&excelize.Style{CustomNumFmt: new("yyyy-mm-dd hh:mm:ss")})
	if err != nil {
		return err
	}
	sw, err := f.NewStreamWriter(name)
	if err != nil {
		return err
	}
	header := s.header()
	if err := sw.SetColWidth(1, len(header), 18); err != nil {
		return err
	}
	if err := sw.SetPanes(&excelize.Panes{
		Freeze: true, YSplit: 1, TopLeftCell: "A2", ActivePane: "bottomLeft",
	}); err != nil {
		return err
	}
	cells := make([]any, len(header))
	for i, name := range header {
		cells[i] = excelize.Cell{StyleID: bold, Value: name}
	}
	if err := sw.SetRow("A1", cells); err != nil {
		return err
	}
	n := 1
	err = s.each(func(row []any) error {
		n++
		clear(cells)
		for i, v := range row {
			switch v := v.(type) {
			case string:
				if len(v) > maxSheetCell {
					return &SheetError{fmt.Sprintf("%s of snapshot %v has %d bytes; the maximum of a cell is %d",
						header[i], row[0], len(v), maxSheetCell)}
				}
				if v != "" {
					cells[i] = v
				}
			case uint64:
				if v > maxSheetExact { // Excel's numbers have 15 digits
					cells[i] = strconv.FormatUint(v, 10)
				} else {
					cells[i] = excelize.Cell{StyleID: whole, Value: v}
				}
			case time.Time:
				if !v.IsZero() {
					cells[i] = excelize.Cell{StyleID: clock, Value: v.In(s.zone)}
				}
			}
		}
		return sw.SetRow("A"+strconv.Itoa(n), cells)
	})
	if err != nil {
		return err
	}
	if err := sw.Flush(); err != nil {
		return err
	}
	return f.Write(io.Discard) // it writes to the zip.Writer above
}
