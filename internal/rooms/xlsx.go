package rooms

import (
	"archive/zip"
	"bufio"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/xuri/excelize/v2"
)

// Bounds of a workbook. A larger list must be saved as CSV, which has no bounds.
const (
	maxWorkbook = 16 << 20  // bytes of the file
	maxUnpacked = 256 << 20 // bytes of its parts together
	maxParts    = 16 << 20  // bytes of those that are held in memory: styles, pictures, small sheets
	maxTexts    = 1 << 20   // different texts in the cells
	maxSpilled  = 1 << 20   // bytes of a sheet, or of the texts, that are held in memory and not in a file
)

// workbook reads a sheet of an .xlsx file with excelize. Excelize streams the rows, but takes a broken part for the end
// of the sheet, and does not bound memory. The whole file is therefore verified first. Each row is read twice, because
// excelize returns either the stored value of a cell or its shown text: the format must not round a number, and a date
// is a number until it is formatted.
type workbook struct {
	*tableRows
	file string // temporary
	book *excelize.File
	rows sheetRows
}

// openWorkbook copies a workbook to a temporary file, verifies it, and reads to the header. The error is a *FileError.
func openWorkbook(r io.Reader, o Options, note func(int, string, ...any)) (l list, err error) {
	w := new(workbook)
	defer func() {
		if err = asFileError(recover(), err); err != nil {
			l = nil
			w.Close()
		}
	}()
	if err := w.spool(r); err != nil {
		return nil, err
	}
	if err := verify(w.file); err != nil {
		return nil, err
	}
	w.book, err = excelize.OpenFile(w.file, excelize.Options{
		UnzipSizeLimit: maxUnpacked, UnzipXMLSizeLimit: maxSpilled,
		ShortDatePattern: "yyyy-mm-dd", LongDatePattern: "yyyy-mm-dd", LongTimePattern: "hh:mm:ss",
	})
	if err != nil {
		return nil, fileError(0, "the workbook cannot be read: %v", err)
	}
	sheet, err := w.sheet(o.Sheet, note)
	if err != nil {
		return nil, err
	}
	if w.rows.raw, err = w.book.Rows(sheet); err == nil {
		w.rows.look, err = w.book.Rows(sheet)
	}
	if err != nil {
		return nil, fileError(0, "the sheet %.40q cannot be read: %v", sheet, err)
	}
	w.tableRows, err = newTable(&w.rows, o.Defaults.SdkAppId != 0, note)
	return w, err
}

// spool copies the file, because a ZIP archive is read from its end.
func (w *workbook) spool(r io.Reader) error {
	f, err := os.CreateTemp("", "tiwsnap-*.xlsx")
	if err != nil {
		return &FileError{Err: fmt.Errorf("a workbook needs a folder for temporary files (TMPDIR): %w", err)}
	}
	w.file = f.Name()
	n, err := io.Copy(f, io.LimitReader(r, maxWorkbook+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return &FileError{Err: err}
	}
	if n > maxWorkbook {
		return fileError(0, `the workbook is larger than %d MB: save the sheet as "CSV UTF-8"`, maxWorkbook>>20)
	}
	return nil
}

// Close removes the temporary files.
func (w *workbook) Close() error {
	for _, rows := range []*excelize.Rows{w.rows.raw, w.rows.look} {
		if rows != nil {
			rows.Close()
		}
	}
	if w.book != nil {
		w.book.Close()
	}
	return os.Remove(w.file)
}

// sheet returns the sheet of that name, or the first that is not hidden.
func (w *workbook) sheet(name string, note func(int, string, ...any)) (string, error) {
	all := w.book.GetSheetList()
	list := fmt.Sprintf("%.200s", strings.Join(all, ", "))
	for _, s := range all {
		if name != "" && strings.EqualFold(s, name) {
			return s, nil
		}
		if visible, err := w.book.GetSheetVisible(s); name == "" && err == nil && visible {
			if len(all) > 1 {
				note(0, "of the %d sheets of the workbook the first is read, %s; others need --sheet, or sheet= in "+
					"a URL: %s",
					len(all), s, list)
			}
			return s, nil
		}
	}
	if name == "" {
		return "", fileError(0, "the workbook has no sheet that can be seen")
	}
	return "", fileError(0, "the workbook has no sheet %.40q; it has: %s", name, list)
}

func (w *workbook) next(rec *record) (err error) {
	defer func() { err = asFileError(recover(), err) }()
	return w.tableRows.next(rec)
}

// asFileError turns a panic of excelize on a malformed file into an error.
func asFileError(panicked any, err error) error {
	if panicked != nil {
		return fileError(0, "the workbook cannot be read: %.200v", panicked)
	}
	return err
}

// sheetRows reads the cells of a sheet, both stored values and shown texts.
type sheetRows struct {
	raw, look   *excelize.Rows
	row         int
	cells, show [][]byte
}

func (*sheetRows) delimiter() byte { return 0 }

func (s *sheetRows) next(rec *record) (cells, shown [][]byte, err error) {
	for {
		more := s.raw.Next()
		if s.look.Next() != more || s.raw.Error() != nil || s.look.Error() != nil {
			return nil, nil, fileError(s.row, "the sheet cannot be read on: %v",
				errors.Join(s.raw.Error(), s.look.Error()))
		}
		if !more {
			return nil, nil, io.EOF
		}
		s.row++
		raw, err := s.raw.Columns(excelize.Options{RawCellValue: true})
		if err != nil {
			return nil, nil, fileError(s.row, "the row cannot be read: %v", err)
		}
		look, err := s.look.Columns()
		if err != nil {
			return nil, nil, fileError(s.row, "the row cannot be read: %v", err)
		}
		if len(raw) == 0 {
			continue
		}
		rec.Line = s.row
		size := 0
		s.cells, s.show = s.cells[:0], s.show[:0]
		for i, text := range raw {
			s.cells, s.show = append(s.cells, []byte(text)), append(s.show, nil)
			if size += len(text); i < len(look) {
				s.show[i] = []byte(look[i])
			}
		}
		if size > MaxRowBytes {
			rec.syntax(0, "", "the row is longer than %d KiB", MaxRowBytes>>10)
		}
		return s.cells, s.show, nil
	}
}

// verify reads the whole workbook. It checks that each part is complete and within its bound, and that sheets and texts
// are XML to their end.
func verify(file string) error {
	z, err := zip.OpenReader(file)
	if err != nil {
		return fileError(0, "the file is a damaged .xlsx or zip archive: %v", err)
	}
	defer z.Close()
	if what := archiveOf(z.File); what != "" {
		return fileError(0, `the file is %s: save the list as .xlsx or as "CSV UTF-8"`, what)
	}
	var unpacked, held uint64
	for _, part := range z.File { // none can be larger than it says
		size := min(part.UncompressedSize64, maxUnpacked+1)
		if unpacked += size; !isSheet(part) && !isTexts(part) || size <= maxSpilled {
			held += size
		}
	}
	if unpacked > maxUnpacked || held > maxParts {
		return fileError(0, "the workbook is too large when it is unpacked "+
			"(%d MB, and %d MB besides its sheets, are allowed): "+`save the sheet as "CSV UTF-8"`,
			maxUnpacked>>20, maxParts>>20)
	}
	for _, part := range z.File {
		if err := verifyPart(part); err == errTooManyTexts {
			return fileError(0, `the workbook has more than %d different texts: save the sheet as "CSV UTF-8"`, maxTexts)
		} else if err != nil {
			return fileError(0, "the workbook is damaged: %.80s: %v", part.Name, err)
		}
	}
	return nil
}

func isTexts(part *zip.File) bool { return partName(part) == "xl/sharedstrings.xml" }

// isSheet reports whether excelize takes a part for a sheet.
func isSheet(part *zip.File) bool { return strings.HasPrefix(partName(part), "xl/worksheets/sheet") }

func partName(part *zip.File) string {
	return strings.ToLower(strings.ReplaceAll(part.Name, `\`, "/"))
}

var errTooManyTexts = errors.New("too many texts")

// archiveOf says what a ZIP archive is that is no workbook.
func archiveOf(parts []*zip.File) string {
	what := "a zip archive without a workbook (.xlsx)"
	for _, part := range parts {
		switch name := part.Name; {
		case partName(part) == "xl/workbook.xml":
			return ""
		case name == "xl/workbook.bin":
			what = "a binary workbook (.xlsb)"
		case name == "content.xml":
			what = "an OpenDocument file (.ods)"
		case strings.HasPrefix(name, "Index/") && strings.HasSuffix(name, ".iwa"), name == "Index.zip":
			what = "an iWork file (.numbers)"
		case name == "word/document.xml":
			what = "a text document (.docx)"
		}
	}
	return what
}

// verifyPart reads a part to its end, where its checksum is verified.
func verifyPart(part *zip.File) error {
	r, err := part.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	if isSheet(part) || isTexts(part) {
		return verifyXML(r)
	}
	_, err = io.Copy(io.Discard, r)
	return err
}

// verifyXML reads XML. No token may be longer than a row.
func verifyXML(r io.Reader) error {
	in := &bounded{r: r}
	d := xml.NewDecoder(bufio.NewReaderSize(in, bufferXML))
	d.CharsetReader = func(charset string, in io.Reader) (io.Reader, error) {
		return nil, fmt.Errorf("it is in %.40s, not in UTF-8", charset)
	}
	for texts := 0; texts <= maxTexts; {
		in.left = MaxRowBytes + bufferXML
		t, err := d.Token()
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if start, ok := t.(xml.StartElement); ok && start.Name.Local == "si" {
			texts++
		}
	}
	return errTooManyTexts
}

const bufferXML = 64 << 10

// bounded is a reader that fails if a token is too long.
type bounded struct {
	r    io.Reader
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("a cell is longer than %d KiB", MaxRowBytes>>10)
	}
	n, err := b.r.Read(p)
	b.left -= n
	return n, err
}
