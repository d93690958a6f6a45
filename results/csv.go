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

// WriteCSV writes a result list: a header, then a line for each snapshot as it
// comes. labels are the names of the labels that become columns.
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

// CSVText makes text of others harmless in a spreadsheet: a cell that would be
// read as a formula gets an apostrophe in front, and so does one that has some
// before such a character already. Readers of class lists take one away again.
// See https://owasp.org/www-community/attacks/CSV_Injection.
func CSVText(s string) string {
	if first, _ := utf8.DecodeRuneInString(strings.TrimLeft(s, "'")); strings.ContainsRune("=+-@\t\r\n＝＋－＠", first) {
		return "'" + s
	}
	return s
}

// header is the first line of a result list.
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

// total is the number of images by Tencent's own count.
func total(s Result) int {
	if s.Total != nil {
		return *s.Total
	}
	return len(s.Images)
}

// row is the line of one snapshot: Total is the number of images by Tencent's
// own count, and the URLs of the images are in one cell, separated by blanks, as
// are those of the copies.
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
