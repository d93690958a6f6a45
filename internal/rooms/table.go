package rooms

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	"tiwsnap/internal/plural"
)

// cellReader reads the rows of a table one by one.
type cellReader interface {
	// next returns the cells of the next row that has any, and sets the line of
	// the record, or its faults where the row cannot be taken apart. shown is
	// how the cells look where that differs, else nil. Both are good until the
	// next call. The error is io.EOF or a *FileError.
	next(rec *record) (cells, shown [][]byte, err error)
	// delimiter is what stands between the cells of a row. It is 0 where nothing
	// does, and a row may leave out its last cells.
	delimiter() byte
}

// tableRows turns the rows of a table into rooms, by the names in its header.
type tableRows struct {
	cells   cellReader
	haveApp bool
	note    func(line int, format string, args ...any)
	columns []place
	labels  int  // how many columns are labels
	room    int  // index of the column RoomId
	result  bool // the table is a result list
}

// maxPreamble is how many rows may precede the header: titles, comments.
const maxPreamble = 20

// newTable reads to the header, which is the first row with a cell RoomId.
func newTable(cells cellReader, haveApp bool, note func(int, string, ...any)) (*tableRows, error) {
	t := &tableRows{cells: cells, haveApp: haveApp, note: note}
	type row struct {
		line int
		text string
	}
	var skipped []row
	var reason error // why there is no header: of the first row, or of one that has a name of ours
	likely := false
	for len(skipped) < maxPreamble {
		rec := new(record)
		cells, _, err := t.cells.next(rec)
		if err == io.EOF {
			break
		} else if err != nil {
			return nil, err
		}
		if rec.broken {
			cells = nil
		} else if blank(cells) {
			continue
		}
		if slices.ContainsFunc(cells, isRoomID) {
			if err := t.header(rec, cells); err != nil {
				return nil, err
			}
			t.noteResult()
			for _, s := range skipped {
				t.note(s.line, "skipped, as it stands before the header: %.60s", s.text)
			}
			return t, nil
		}
		if isData(cells) { // which must not be skipped
			if reason == nil {
				reason = fileError(rec.Line, "the first line must be a header like SdkAppId,RoomId")
			}
			break
		}
		if known := slices.ContainsFunc(cells, isField); reason == nil || known && !likely {
			reason, likely = t.header(rec, cells), known
		}
		s := row{line: rec.Line}
		if i := slices.IndexFunc(cells, filled); i >= 0 {
			s.text = string(trim(cells[i]))
		}
		skipped = append(skipped, s)
	}
	if reason == nil {
		reason = fileError(0, "the file is empty")
	}
	return nil, reason
}

// isData reports whether a row looks like a room: it has two numbers, or is one.
func isData(cells [][]byte) bool {
	numbers, all := 0, 0
	for _, c := range cells {
		if isNumber(c) {
			numbers++
		}
		if filled(c) {
			all++
		}
	}
	return numbers > 1 || numbers == 1 && all == 1
}

// header reads the cells as the names of the columns. The error is a *FileError.
func (t *tableRows) header(rec *record, cells [][]byte) error {
	if rec.broken {
		return &FileError{Line: rec.Line, Faults: rec.faults}
	}
	rec.places = nil
	labels := 0
	t.result = slices.ContainsFunc(cells, func(name []byte) bool { return string(trim(name)) == ColumnSnapshot })
	for i, text := range cells {
		name := trim(text)
		col, _, ok := lookup(name)
		if t.result && isResultColumn(string(name)) {
			col, ok = column{label: string(name), ignored: true}, true
		}
		switch {
		case len(name) == 0:
			// Spreadsheets write such columns where cells had a value once.
		case !ok:
			rec.fault(i+1, "", "%s", whyUnknown("column", string(name)))
		case rec.column(col.name()) > 0:
			rec.fault(i+1, col.name(), "is column %d already", rec.column(col.name()))
		case col.field == nil && !col.ignored:
			labels++
		}
		rec.places = append(rec.places, place{col, i + 1})
	}
	if len(rec.faults) == 0 {
		if rec.column("RoomId") == 0 {
			rec.fault(0, "", "the header has no column RoomId")
		}
		if rec.column("SdkAppId") == 0 && !t.haveApp {
			rec.fault(0, "", NoSdkAppId)
		}
	}
	if len(rec.faults) > 0 {
		return &FileError{Line: rec.Line, Faults: rec.faults}
	}
	t.columns, t.labels, t.room = rec.places, labels, rec.column("RoomId")-1
	return nil
}

// noteResult adds a note about the ignored columns of a result list.
func (t *tableRows) noteResult() {
	var ignored []string
	for _, p := range t.columns {
		if p.ignored {
			ignored = append(ignored, p.label)
		}
	}
	if t.result {
		t.note(0, "the file is a result list: its rooms and labels are read, and not %s; %s",
			strings.Join(ignored, ", "), noCallback)
	}
}

func isRoomID(cell []byte) bool {
	c, _, ok := lookup(trim(cell))
	return ok && c.field != nil && c.field.name == "RoomId"
}

func isField(cell []byte) bool {
	c, _, ok := lookup(trim(cell))
	return ok && c.field != nil
}

func (t *tableRows) next(rec *record) error {
	for {
		rec.places = t.columns
		cells, shown, err := t.cells.next(rec)
		if err != nil || rec.broken {
			return err
		}
		if blank(cells) || t.repeatsHeader(rec.Line, cells) {
			continue
		}
		if cells = t.fit(rec, cells); !rec.broken {
			t.row(rec, cells, shown)
		}
		return nil
	}
}

// repeatsHeader reports whether the row is another header, as in lists that were concatenated. If its columns differ,
// they apply to the rows after it.
func (t *tableRows) repeatsHeader(line int, cells [][]byte) bool {
	if t.room >= len(cells) || len(cells[t.room]) == 0 || isNumber(cells[t.room][:1]) ||
		!slices.ContainsFunc(cells, isRoomID) {
		return false
	}
	before := t.columns
	if t.header(&record{Row: Row{Line: line}}, cells) != nil {
		return false
	}
	if slices.EqualFunc(before, t.columns, func(a, b place) bool { return a.name() == b.name() && a.at == b.at }) {
		t.note(line, "the header again, skipped")
	} else {
		t.note(line, "a second header; its columns are those of the rows below")
	}
	return true
}

// fit drops empty cells that have no column. A row with too many or too few cells is a fault.
func (t *tableRows) fit(rec *record, cells [][]byte) [][]byte {
	for len(cells) > len(t.columns) && !filled(cells[len(cells)-1]) {
		cells = cells[:len(cells)-1]
	}
	named := len(t.columns)
	for named > 0 && t.columns[named-1].name() == "" {
		named--
	}
	delim := t.cells.delimiter()
	switch {
	case len(cells) <= len(t.columns) && (len(cells) >= named || delim == 0):
	case delim == 0:
		for i := len(t.columns); i < len(cells); i++ {
			if filled(cells[i]) {
				rec.syntax(i+1, "", noName, cells[i])
			}
		}
	default:
		hint := ""
		if len(cells) > len(t.columns) {
			hint = fmt.Sprintf(" (a field that contains %q must be in quotes)", delim)
		}
		rec.syntax(0, "", "the row has %s, the header has %d%s", plural.Of(len(cells), "field"), len(t.columns), hint)
	}
	return cells
}

// exactDigits is how many digits of a number spreadsheets keep.
const exactDigits = 15

const noName = "%.40q is in a column without a name: name it in the header, or delete it"

// row sets the fields of the room.
func (t *tableRows) row(rec *record, cells, shown [][]byte) {
	for i, text := range cells {
		p := &t.columns[i]
		if p.ignored {
			continue
		}
		look := text
		if shown != nil {
			look = shown[i]
		} else if t.result && t.cells.delimiter() != 0 {
			look = unguard(text)
		}
		if p.field == nil && p.label != "" {
			if len(look) > 0 {
				rec.setLabel(p.label, string(look), t.labels)
			}
			continue
		}
		switch text = trim(text); {
		case len(text) == 0:
		case p.field == nil:
			rec.fault(p.at, "", noName, text)
		case p.field.number == nil:
			*p.field.text(&rec.Room) = string(trim(look))
		case shown != nil && isWords(text, look):
			rec.fault(p.at, p.field.name, "is shown as %.40q: format the column as a number or as text", look)
		case shown != nil && len(text) > exactDigits && !bytes.Equal(text, look):
			rec.fault(p.at, p.field.name, "is %.40q, of which spreadsheets keep %d digits: format the column as text",
				text, exactDigits)
		default:
			rec.setNumber(p.field, p.at, text)
		}
	}
}

// blank reports whether all cells are empty.
func blank(cells [][]byte) bool { return !slices.ContainsFunc(cells, filled) }

func filled(cell []byte) bool { return len(trim(cell)) > 0 }
