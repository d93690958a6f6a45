// Package rooms parses class lists: CSV with a header, JSON lines, a JSON array or a workbook (.xlsx).
//
// Read recognises the format and the encoding and yields one row at a time. Errors have a line and a column. Only the
// current row and the set of rooms seen so far are kept in memory.
package rooms

import (
	"cmp"
	"io"
	"iter"
	"slices"

	"tiwsnap/tasks"
)

// Bounds of a file.
const (
	defaultMaxRows = 5_000_000
	MaxRowBytes    = 128 << 10 // twice the size of a room with every field at its limit
	maxApps        = 1000
)

// Format is the format of a class list.
type Format int

// The formats. Auto reads a file that begins with "{" or "[" as JSON, and any other as CSV. A workbook is always
// recognised. JSONLines includes an array and indented objects, which some programs write.
const (
	Auto Format = iota
	CSV
	JSONLines
)

// Options control Read. The zero value is ready to use.
type Options struct {
	Format Format
	// Defaults are the values of fields that a row leaves out; see Room.Over.
	Defaults tasks.Room
	// MaxRows bounds the rows of a file, good and bad; default 5 million. Finding duplicates takes 8 bytes of memory a
	// row, and about 50 for a RoomId above 2^32-1.
	MaxRows int
	// CheckCallback checks a CallbackURL beyond the rules of tasks.Room. Its error continues a sentence that begins
	// with the field. Default: no check.
	CheckCallback func(url string) error
	// Encoding is the encoding of a text without a byte order mark. By default it is recognised and reported as a Note.
	Encoding Encoding
	// Sheet is the name of the worksheet to read, in any case. Default: the first that is not hidden. It is an error
	// for a file that is no workbook.
	Sheet string
	// Notes, unless nil, is called with each Note.
	Notes func(Note)
}

// Row is a room of a class list and the line on which it begins, from 1. Room has the fields of the row alone: the
// defaults are not merged in, but the room is valid with them.
type Row struct {
	Line int
	Room tasks.Room
}

// Read yields the rows of a class list in order. For a bad row it yields a *RowError and a Row with only the line, and
// goes on. A *FileError comes last: the file is no class list, has no rows, has an unknown column, or could not be read
// to its end.
//
// Fields have the names of the API: SdkAppId, RoomId, CallbackURL, SnapshotMode, Whiteboard.Width, Whiteboard.Height,
// Whiteboard.InitParams, COS.Uin, COS.Region, COS.Bucket, COS.TargetDir, COS.Domain, and Label.NAME with any NAME.
// Case, spaces and punctuation in names are ignored. RoomId is required, SdkAppId unless it has a default. Text may
// have any Encoding. Lines end in LF, CRLF or CR. Blank lines and rows with only empty fields are skipped.
//
// CSV is separated by comma, semicolon or tab, which is read from the header or from a first line such as "sep=;". The
// header is the first row with a field RoomId. Up to 20 rows before it and repeated headers are skipped, each with a
// Note. An empty field counts as left out. Spaces around a value are ignored, except in labels. Quotes are those of RFC
// 4180. Numbers are whole; decimals of 0, an apostrophe before them and full-width digits are accepted.
//
// A line of JSON is one object, with names as above or nested as in the API ("COS":{"Uin":…}). null counts as left out.
// Numbers must not be quoted: for Tencent a RoomId that is a string is another room. InitParams may be an object; it is
// then stored as text without spaces.
//
// A workbook is one sheet read as a table; its lines are the rows of the sheet. It is copied to a temporary file first.
// Numbers are read as they are stored, texts as they are shown.
//
// A result list is accepted, too: a table with a column Snapshot, or JSON lines with a member "room". Its results are
// ignored, with a Note.
//
// A row of over MaxRowBytes is bad, and so is a second row with the same SdkAppId and RoomId. A file with over 1000
// different SdkAppIds is refused, because its columns are probably swapped.
//
// Read reads from r while the sequence advances, so it can be ranged over once.
func Read(r io.Reader, o Options) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		maxRows := cmp.Or(o.MaxRows, defaultMaxRows)
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
				check.noteLargeRooms(note)
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
