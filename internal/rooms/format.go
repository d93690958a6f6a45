package rooms

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
)

// open recognises the format: a workbook by its first bytes, a text by its first line that is not blank. The error is a
// *FileError.
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
	if err := checkText(first); err != nil {
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

// isRequest reports whether a text begins like the body of POST /v1/batches: an object with an array "rooms".
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

// otherFiles are files that people mistake for a class list, by their first bytes.
var otherFiles = []struct{ magic, what string }{
	{"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
		"an old workbook (.xls) or one with a password: save it as .xlsx, without a password"},
	{"PK", "a damaged .xlsx or an empty zip archive"},
	{"\x1f\x8b", "compressed with gzip: unpack it first"},
	{"%PDF", "a PDF document: export the list as .xlsx or CSV"},
	{"{\\rtf", `an RTF document: save the list as .xlsx or as "CSV UTF-8"`},
	{"\xff\xfe\x00\x00", `UTF-32 text: save it as "CSV UTF-8"`},
}

// checkText returns an error if the first line of a text shows that it is no class list.
func checkText(first []byte) error {
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
