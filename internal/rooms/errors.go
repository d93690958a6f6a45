package rooms

import (
	"fmt"
	"strings"
	"unicode"
)

// Note is a remark about a file that is no error: an encoding that was recognised, a row that was skipped.
type Note struct {
	Line int // from 1; 0 if it is about the whole file
	Text string
}

// noter returns a function that formats a Note and calls notes with it, unless notes is nil.
func noter(notes func(Note)) func(line int, format string, args ...any) {
	return func(line int, format string, args ...any) {
		if notes != nil {
			notes(Note{line, printable(fmt.Sprintf(format, args...))})
		}
	}
}

// String returns the text with its line.
func (n Note) String() string { return describe(n.Line, []Fault{{Reason: n.Text}}) }

// NoSdkAppId is the reason of a Fault that a default for the SdkAppId fixes.
const NoSdkAppId = "the header has no column SdkAppId: add one, or set it for all rows (--app)"

// Fault is an error in a file.
type Fault struct {
	// Column is the field in a line of CSV or the byte in a line of JSON, both from 1; 0: none.
	Column int
	// Field is the API's name of the field; empty if Reason is complete without it.
	Field  string
	Reason string
}

// RowError means that a row is bad. The rows after it are not affected.
type RowError struct {
	Line   int // from 1
	Faults []Fault
}

func (e *RowError) Error() string { return describe(e.Line, e.Faults) }

// FileError means that a file cannot be read, or not any further.
type FileError struct {
	Line   int // from 1; 0 if it is about the whole file
	Faults []Fault
	Err    error // of the reader, if that is the reason
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

// printable replaces control characters, which could steer a terminal.
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
