// Package rooms parses class lists: CSV with a header, JSON lines, a JSON array
// or a workbook (.xlsx). Errors have a line and a column. Only the current row
// and the set of seen rooms are kept in memory.
package rooms

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"unicode"

	"tiwsnap/tasks"
)

// Bounds of a file.
const (
	DefaultMaxRows = 5_000_000
	MaxRowBytes    = 128 << 10 // twice what a room at all of its limits takes
	maxApps        = 1000
)

// Format is the format of a class list.
type Format int

// The formats. Auto takes a file whose first character is "{" or "[" for JSON
// and everything else for CSV. A workbook is recognised in any case. JSONLines
// also stands for what programs write instead: an array, or indented objects.
const (
	Auto Format = iota
	CSV
	JSONLines
)

// Options control Read. The zero value is ready to use.
type Options struct {
	Format Format
	// Defaults fill the fields that a row leaves out, by Room.Over.
	Defaults tasks.Room
	// MaxRows bounds the rows of a file, good and bad; 0 means DefaultMaxRows.
	// Telling rooms apart takes 8 bytes of memory a row, and some 50 where its
	// RoomId is above 2^32-1.
	MaxRows int
	// CheckCallback returns what is wrong with a CallbackURL of a row beyond the
	// rules of tasks.Room; the error reads on after the field. Default: nothing.
	CheckCallback func(url string) error
	// Encoding is that of a text without a byte order mark; the zero value
	// means that it is recognised, and told as a Note.
	Encoding Encoding
	// Sheet is the name of the worksheet to read, in any case; empty means the
	// first that is not hidden. A file that is no workbook has none.
	Sheet string
	// Notes, unless nil, is called with what else is to be told about the file.
	Notes func(Note)
}

// Note is something about a file that a person should know though no row is
// wrong: an encoding that was recognised, a row that is no room and was skipped.
type Note struct {
	Line int // from 1; 0 if it is about the whole file
	Text string
}

// noter makes Notes for a function, which may be nil.
func noter(notes func(Note)) func(line int, format string, args ...any) {
	return func(line int, format string, args ...any) {
		if notes != nil {
			notes(Note{line, printable(fmt.Sprintf(format, args...))})
		}
	}
}

// String is the text with its line.
func (n Note) String() string { return describe(n.Line, []Fault{{Reason: n.Text}}) }

// Row is one room of a class list and the line on which it begins, from 1.
// Room is what the row itself says: the defaults are not merged in, though the
// room is known to be valid with them.
type Row struct {
	Line int
	Room tasks.Room
}

// NoSdkAppId is the reason of a Fault that a default for the SdkAppId mends.
const NoSdkAppId = "the header has no column SdkAppId, and there is no default for it"

// Fault is one thing that is wrong with a file.
type Fault struct {
	// Column is the field in a line of CSV and the byte in a line of JSON,
	// both from 1; 0 where none is to blame.
	Column int
	// Field is the API's name of the field, or empty if Reason says it all.
	Field  string
	Reason string
}

// RowError says what is wrong with one row. The rows after it are not affected.
type RowError struct {
	Line   int // from 1
	Faults []Fault
}

func (e *RowError) Error() string { return describe(e.Line, e.Faults) }

// FileError says why a file cannot be read (on). Nothing comes after it.
type FileError struct {
	Line   int // from 1; 0 if it is about the whole file
	Faults []Fault
	Err    error // what the reader returned, if that is the reason
}

func (e *FileError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("cannot read line %d: %v", e.Line, e.Err)
	}
	return describe(e.Line, e.Faults)
}

func (e *FileError) Unwrap() error { return e.Err }

func describe(line int, faults []Fault) string {
	var b strings.Builder
	if line > 0 {
		fmt.Fprintf(&b, "line %d", line)
	}
	for i, f := range faults {
		switch {
		case i > 0:
			b.WriteString("; ")
		case line > 0 && f.Column > 0:
			b.WriteString(", ")
		case line > 0:
			b.WriteString(": ")
		}
		if f.Column > 0 {
			fmt.Fprintf(&b, "column %d: ", f.Column)
		}
		if f.Field != "" {
			fmt.Fprintf(&b, "%.60s ", f.Field)
		}
		b.WriteString(f.Reason)
	}
	return printable(b.String())
}

// printable replaces what in a file's text would steer a terminal.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return unicode.ReplacementChar
		}
		return c
	}, s)
}

func fileError(line int, format string, args ...any) *FileError {
	return &FileError{Line: line, Faults: []Fault{{Reason: fmt.Sprintf(format, args...)}}}
}

// Read yields the rows of a class list in order. Instead of a row that is wrong
// it yields a *RowError (and a Row with nothing but the line) and goes on; a
// *FileError comes last: the file is no class list, has no row, a column that
// is not known, or could not be read to its end.
//
// Fields have the API's names: SdkAppId, RoomId, CallbackURL, SnapshotMode,
// Whiteboard.Width, Whiteboard.Height, Whiteboard.InitParams, COS.Uin,
// COS.Region, COS.Bucket, COS.TargetDir, COS.Domain, and Label.NAME with any
// NAME. Case, blanks and punctuation in the names do not count. RoomId has to be
// there, SdkAppId unless it has a default. Text is in any Encoding; lines end in
// LF, CRLF or CR; blank lines and rows of nothing but empty fields are skipped.
//
// CSV is separated by comma, semicolon or tab, as the header shows, or as a first
// line like "sep=;" says. The header is the first row with a field RoomId; up to
// 20 rows before it are skipped and told as Notes, and so is a header that comes
// again. An empty field is left out. Blanks around a value do not count, except in
// labels. Quotes are those of RFC 4180. Numbers are whole; decimals of 0, an
// apostrophe before them and full-width digits do not count.
//
// A line of JSON is one object, with names as above or nested, as in the API
// ("COS":{"Uin":…}). null is left out. Numbers must not be quoted: to Tencent
// a room with a text for its id is another room. InitParams may be an object, and
// is then its text without blanks.
//
// A workbook is a table as CSV is, of one sheet; its lines are the sheet's rows.
// It is copied to a temporary file first. Numbers are taken as they are stored,
// texts as they are shown.
//
// A result list, in a table with a column Snapshot or in JSON lines with the room as
// a member "room", is a class list, too: what became of the rooms is left out,
// and told as a Note.
//
// A row of over MaxRowBytes is wrong, and so is a second row with the same
// SdkAppId and RoomId. A file with over 1000 different SdkAppIds is refused,
// as its columns are most likely swapped.
//
// Read reads from r as the sequence advances, so it can be ranged over once.
func Read(r io.Reader, o Options) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		maxRows := cmp.Or(o.MaxRows, DefaultMaxRows)
		note := noter(o.Notes)
		check := newChecker(o)
		rec := new(record)
		list, err := open(r, o, note)
		if list, ok := list.(io.Closer); ok {
			defer list.Close()
		}
		for n := 0; err == nil; n++ {
			rec.reset()
			switch err = list.next(rec); {
			case err == io.EOF && n > 0:
				check.tell(note)
				return
			case err == io.EOF:
				err = fileError(0, "the file has a header and no rows")
			case err != nil:
			case n == maxRows:
				err = fileError(rec.Line, "the file has more than %d rows", maxRows)
			default:
				err = check.record(rec)
			}
			if err != nil {
				break
			}
			if len(rec.faults) == 0 {
				if !yield(rec.Row, nil) {
					return
				}
			} else if !yield(Row{Line: rec.Line}, &RowError{rec.Line, slices.Clone(rec.faults)}) {
				return
			}
		}
		yield(Row{}, err)
	}
}

// list is a class list of one format.
type list interface {
	// next fills in the next row. The error is io.EOF or a *FileError.
	next(*record) error
}

// open finds the format: of a workbook by its first bytes, of a text by its
// first line that is not blank. The error is a *FileError.
func open(r io.Reader, o Options, note func(int, string, ...any)) (list, error) {
	in := bufio.NewReaderSize(r, textWindow)
	head, _ := in.Peek(8)
	switch {
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		if o.Encoding != (Encoding{}) {
			note(0, "the encoding that was named is not used: the file is a workbook, which has its own")
		}
		return openWorkbook(in, o, note)
	case o.Sheet != "":
		return nil, fileError(0, "the file is no workbook (.xlsx), so it has no sheet %.40q", o.Sheet)
	}
	for _, other := range otherFiles {
		if bytes.HasPrefix(head, []byte(other.magic)) {
			return nil, fileError(0, "the file is %s", other.what)
		}
	}
	if head, _ := in.Peek(textWindow); isRequest(head) {
		return nil, fileError(0, `the file is an object with "rooms", as POST /v1/batches takes it: send it there, `+
			`or give the array of its rooms alone, as jq .rooms prints it, and what else it has as flags`)
	}
	l := newLines(newDecoder(in, o.Encoding, note))
	for len(trim(l.text)) == 0 {
		if err := l.next(); err == io.EOF {
			return nil, fileError(0, "the file is empty")
		} else if err != nil {
			return nil, err
		}
	}
	first := trim(l.text)
	if err := textOf(first); err != nil {
		return nil, err
	}
	switch {
	case o.Format == CSV || o.Format == Auto && first[0] != '{' && first[0] != '[':
		return newTable(newCSV(l), o.Defaults.SdkAppId != 0, note)
	case first[0] == '[' || string(first) == "{":
		return newJSONValues(l, note), nil
	}
	l.unread()
	return &jsonLines{jsonRows{note: note}, l}, nil
}

// isRequest reports whether a text begins as the body of a request that enqueues
// a batch: an object with an array "rooms".
func isRequest(head []byte) bool {
	d := json.NewDecoder(bytes.NewReader(head))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return false
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return false
		}
		if name == "rooms" {
			t, err := d.Token()
			return err == nil && t == json.Delim('[')
		}
		if d.Decode(new(json.RawMessage)) != nil {
			return false
		}
	}
	return false
}

// otherFiles are what is taken for a class list at times, by its first bytes.
var otherFiles = []struct{ magic, what string }{
	{"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
		"an old workbook (.xls) or one with a password: save it as .xlsx, without a password"},
	{"PK", "a damaged .xlsx or an empty zip archive"},
	{"\x1f\x8b", "compressed with gzip: unpack it first"},
	{"%PDF", "a PDF document: export the list as .xlsx or CSV"},
	{"{\\rtf", `an RTF document: save the list as .xlsx or as "CSV UTF-8"`},
	{"\xff\xfe\x00\x00", `UTF-32 text: save it as "CSV UTF-8"`},
}

// textOf returns an error if the first line of a text shows that it is another
// kind of text.
func textOf(first []byte) error {
	start := bytes.ToLower(first[:min(len(first), 1024)])
	switch {
	case bytes.IndexByte(first, 0) >= 0:
		return fileError(0, noText)
	case bytes.HasPrefix(start, []byte("<?xml")) && !bytes.Contains(start, []byte("<html")):
		return fileError(0, `the file is an XML document, save it as .xlsx or as "CSV UTF-8"`)
	case start[0] == '<':
		return fileError(0, "the file is an HTML page: download the list itself, "+
			`or open the page in a spreadsheet and save it as .xlsx or as "CSV UTF-8"`)
	}
	return nil
}

const noText = `the file is not text, save it as .xlsx or as "CSV UTF-8"`

// record is one row on its way from the parser of a format to the checker.
type record struct {
	Row
	places []place
	faults []Fault
	broken bool // the row could not be taken apart, so Room is not what it says
}

// place is where a row has a field.
type place struct {
	column
	at int // as Fault.Column
}

func (r *record) reset() {
	r.Row = Row{}
	r.faults = r.faults[:0]
	r.broken = false
}

func (r *record) fault(at int, field, format string, args ...any) {
	r.faults = append(r.faults, Fault{at, field, fmt.Sprintf(format, args...)})
}

// syntax notes a fault that makes the rest of the row meaningless.
func (r *record) syntax(at int, field, format string, args ...any) {
	r.fault(at, field, format, args...)
	r.broken = true
}

// checker finds what is wrong with a row beyond its syntax.
type checker struct {
	defaults       tasks.Room
	callback       func(url string) error // or nil
	goodWhiteboard bool                   // the defaults' whiteboard needs no look for each row
	seen           *seen
	large          int // rooms above the documented greatest RoomId
	largeLine      int // of the first of them
}

func newChecker(o Options) *checker {
	whiteboard := tasks.Room{SdkAppId: 1, RoomId: 1, Whiteboard: o.Defaults.Whiteboard}
	return &checker{
		defaults:       o.Defaults,
		callback:       o.CheckCallback,
		goodWhiteboard: whiteboard.Validate() == nil,
		seen:           newSeen(),
	}
}

// record adds the faults of the room to those of its syntax. The error is a
// *FileError.
func (c *checker) record(r *record) error {
	if r.broken {
		return nil
	}
	room := r.Room.Over(c.defaults)
	if r.Room.Whiteboard == nil && c.goodWhiteboard {
		room.Whiteboard = nil
	}
	if err := room.Validate(); err != nil {
		c.invalid(r, err.(*tasks.RoomError).Faults)
	} else if r.Room.CallbackURL != "" && c.callback != nil {
		if err := c.callback(r.Room.CallbackURL); err != nil {
			r.fault(r.column("CallbackURL"), "CallbackURL", "%s", err)
		}
	}
	if len(r.faults) > 0 {
		return nil
	}

	app, ok := c.seen.app(room.SdkAppId)
	if !ok {
		return fileError(r.Line, "the file has more than %d different SdkAppIds, perhaps the columns SdkAppId and "+
			"RoomId are swapped", maxApps)
	}
	if line := c.seen.add(app, room.RoomId, r.Line); line > 0 {
		where := fmt.Sprintf("on line %d", line)
		if line == maxLine {
			where = "further up"
		}
		r.fault(r.column("RoomId"), "RoomId", "%d of SdkAppId %d is already %s", room.RoomId, room.SdkAppId, where)
		return nil
	}
	if room.RoomId > tasks.MaxDocumentedRoomID {
		if c.large++; c.large == 1 {
			c.largeLine = r.Line
		}
	}
	return nil
}

// tell says at the end what Tencent might not like.
func (c *checker) tell(note func(int, string, ...any)) {
	if c.large > 0 {
		note(c.largeLine, "the first of %s with a RoomId above %d, which other whiteboard APIs do not take",
			count(c.large, "room"), uint64(tasks.MaxDocumentedRoomID))
	}
}

// invalid adds what Validate found, apart from fields that are known to be
// wrong and were left out for it.
func (c *checker) invalid(r *record, faults []tasks.FieldError) {
	for _, f := range faults {
		if !slices.ContainsFunc(r.faults, func(known Fault) bool { return known.Field == f.Field }) {
			r.fault(r.column(f.Field), f.Field, "%s", f.Reason)
		}
	}
	slices.SortStableFunc(r.faults, func(a, b Fault) int { return cmp.Compare(a.Column, b.Column) })
}

// column returns where the row has the field, or 0.
func (r *record) column(field string) int {
	for _, p := range r.places {
		if p.name() == field {
			return p.at
		}
	}
	return 0
}
