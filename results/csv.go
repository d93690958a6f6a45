package results

import (
	"encoding/csv"
	"fmt"
	"io"
	"iter"
	"strings"
	"unicode/utf8"

	"tiwsnap/internal/rooms"
)

// WriteCSV writes a result list: a header, and a line for each snapshot as it arrives.
// Each of labels becomes a column.
func WriteCSV(w io.Writer, labels []string, all iter.Seq2[Result, error]) error {
	cw := csv.NewWriter(w)
	if err := writeCSV(cw, header(labels)); err != nil {
		return err
	}
	for s, err := range all {
		if err == nil {
			err = writeCSV(cw, row(s, labels))
		}
		if err != nil {
			return err
		}
	}
	cw.Flush()
	return cw.Error()
}

func writeCSV(w *csv.Writer, row []string) error {
	if err := w.Write(row); err != nil {
		return err
	}
	return w.Error()
}

// CSVText protects a cell against formula injection in spreadsheets: text that would
// be read as a formula, even after some apostrophes, gets an apostrophe in front.
// Readers of class lists remove one again. See
// https://owasp.org/www-community/attacks/CSV_Injection.
func CSVText(s string) string {
	if first, _ := utf8.DecodeRuneInString(strings.TrimLeft(s, "'")); strings.ContainsRune("=+-@\t\r\n＝＋－＠", first) {
		return "'" + s
	}
	return s
}

// header returns the first line of a result list.
func header(labels []string) []string {
	h := []string{
		rooms.ColumnSnapshot, "SdkAppId", "RoomId", rooms.ColumnState, rooms.ColumnCode, rooms.ColumnMessage,
		rooms.ColumnTaskID, rooms.ColumnRequestID, rooms.ColumnAttempts, rooms.ColumnTotal, rooms.ColumnImages,
	}
	for _, l := range labels {
		h = append(h, CSVText("Label."+l))
	}
	return append(append(h, rooms.Parameters...), rooms.ColumnCopies)
}

// total returns Tencent's count of the images.
func total(s Result) int {
	if s.Total != nil {
		return *s.Total
	}
	return len(s.Images)
}

// row returns the line of one snapshot. The URLs of the images share a cell, separated
// by blanks; so do those of the copies.
func row(s Result, labels []string) []string {
	var copies []string
	for _, c := range s.CopyList {
		if c.URL != "" {
			copies = append(copies, c.URL)
		}
	}
	r := []string{
		s.ID, fmt.Sprint(s.Room.SdkAppId), fmt.Sprint(s.Room.RoomId), string(s.State),
		CSVText(s.Code), CSVText(s.Message), CSVText(s.TaskID), CSVText(s.RequestID),
		fmt.Sprint(s.Attempts), fmt.Sprint(total(s)), CSVText(strings.Join(s.Links(), " ")),
	}
	for _, l := range labels {
		r = append(r, CSVText(s.Room.Label[l]))
	}
	for _, v := range rooms.ParameterValues(s.Room) {
		r = append(r, CSVText(v))
	}
	return append(r, CSVText(strings.Join(copies, " ")))
}
