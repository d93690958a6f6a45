package rooms

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"tiwsnap/tasks"
)

// The columns that a result list has beside those of a class list. A list with ColumnSnapshot is a result list: Read
// ignores these columns, so that a result list can be enqueued again as it is.
const (
	ColumnSnapshot  = "Snapshot"
	ColumnState     = "State"
	ColumnCode      = "Code"
	ColumnMessage   = "Message"
	ColumnTaskID    = "TaskID"
	ColumnRequestID = "RequestId"
	ColumnAttempts  = "Attempts"
	ColumnTotal     = "Total"     // of images
	ColumnImages    = "Snapshots" // all URLs in one cell
	ColumnCopies    = "Copies"    // the same of the copies
	columnImage     = "Image"     // and a number: one URL
	columnCopy      = "Copy"      // and a number: the URL of its copy
	columnSent      = "Sent"      // and a time zone
	columnEnded     = "Ended"     // and a time zone
)

// ColumnImage is the column of image n, from 1.
func ColumnImage(n int) string { return columnImage + strconv.Itoa(n) }

// ColumnCopy is the column of the copy of image n, from 1.
func ColumnCopy(n int) string { return columnCopy + strconv.Itoa(n) }

// ColumnSent and ColumnEnded are the columns of times in that zone.
func ColumnSent(zone string) string  { return columnSent + " (" + zone + ")" }
func ColumnEnded(zone string) string { return columnEnded + " (" + zone + ")" }

var resultColumns = []string{ColumnSnapshot, ColumnState, ColumnCode, ColumnMessage, ColumnTaskID, ColumnRequestID,
	ColumnAttempts, ColumnTotal, ColumnImages, ColumnCopies}

// isResultColumn reports whether a column is one that only result lists have.
func isResultColumn(name string) bool {
	if slices.Contains(resultColumns, name) {
		return true
	}
	for _, numbered := range []string{columnImage, columnCopy} {
		if n, ok := strings.CutPrefix(name, numbered); ok {
			return n != "" && strings.Trim(n, "0123456789") == ""
		}
	}
	before, zone, ok := strings.Cut(name, " (")
	return ok && (before == columnSent || before == columnEnded) && strings.HasSuffix(zone, ")")
}

// callbackField is a field that Read ignores in a result list in JSON, which has only its scheme and host.
const callbackField = "CallbackURL"

// noCallback ends the Note about a result list.
const noCallback = "a CallbackURL must be given again"

// unguard removes the apostrophe that a result list has before text that a spreadsheet would take for a formula
// (results.CSVText).
func unguard(text []byte) []byte {
	if len(text) < 2 || text[0] != '\'' {
		return text
	}
	if first, _ := utf8.DecodeRune(bytes.TrimLeft(text, "'")); strings.ContainsRune("=+-@\t\r\n＝＋－＠", first) {
		return text[1:]
	}
	return text
}

// Parameters are the fields of a room that a result list has beside SdkAppId, RoomId and labels: all except
// CallbackURL, which may contain a token.
var Parameters = func() (names []string) {
	for _, f := range fields {
		if f.name != "SdkAppId" && f.name != "RoomId" && f.name != callbackField {
			names = append(names, f.name)
		}
	}
	return names
}()

// ParameterValues returns the values of the Parameters in their order, empty for those that the room leaves out.
func ParameterValues(r tasks.Room) []string {
	whole := func(n *uint64) string {
		if n == nil {
			return ""
		}
		return strconv.FormatUint(*n, 10)
	}
	board, cos, uin := tasks.Whiteboard{}, tasks.COS{}, ""
	if r.Whiteboard != nil {
		board = *r.Whiteboard
	}
	if r.COS != nil {
		cos, uin = *r.COS, whole(&r.COS.Uin)
	}
	return []string{
		r.SnapshotMode, whole(board.Width), whole(board.Height), board.InitParams,
		uin, cos.Region, cos.Bucket, cos.TargetDir, cos.Domain,
	}
}
