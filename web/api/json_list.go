package api

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"tiwsnap/internal/spool"
	"tiwsnap/web"
)

// maxJSONRoom bounds one member of a JSON body, in bytes. It is far above the limit of a row: rows between are
// reported as faults.
const maxJSONRoom = 1 << 20

// jsonList converts a JSON body to JSON lines, one for each room. The rooms of an array are read as they come, those
// of an object when it has come whole, since its members have no order.
type jsonList struct {
	head   ListHead
	object bool
	rooms  spool.Spool // of an object
	member *memberReader
	dec    *json.Decoder
	line   bytes.Buffer
	n      int // rooms
	err    error
}

// memberReader fails if one member of a body is too large.
type memberReader struct {
	r    io.Reader
	left int
}

func (b *memberReader) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, web.NewProblem(http.StatusUnprocessableEntity, web.CodeInvalid,
			"nothing was enqueued: one member of the body is larger than %d bytes", maxJSONRoom)
	}
	n, err := b.r.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// newJSONList reads an object to its end, and of an array nothing yet. The error is a *Problem, or that of the reader.
// Close the list.
func newJSONList(r io.Reader) (*jsonList, error) {
	l := &jsonList{member: &memberReader{r: r, left: maxJSONRoom}}
	l.dec = json.NewDecoder(l.member)
	if err := l.open(); err != nil {
		l.Close()
		return nil, l.fault(err)
	}
	return l, nil
}

// Close drops what is left.
func (l *jsonList) Close() { l.rooms.Close() }

// lines returns the rooms.
func (l *jsonList) lines() (io.Reader, error) {
	if l.object {
		r, err := l.rooms.Reader()
		return r, spoolProblem(err)
	}
	return l, nil
}

var errNotAList = errors.New(`it must be an array of rooms, or an object with "rooms", ` +
	`and with "name", "strict", "webhook" and "defaults" as wanted`)

func (l *jsonList) open() error {
	t, err := l.dec.Token()
	if err != nil || t == json.Delim('[') {
		return err
	}
	if t != json.Delim('{') {
		return errNotAList
	}
	l.object = true
	seen := map[string]bool{}
	for l.dec.More() {
		t, err := l.dec.Token()
		if err != nil {
			return err
		}
		name := t.(string)
		if seen[name] {
			return fmt.Errorf("%.40q appears twice", name)
		}
		seen[name] = true
		switch name {
		case "name":
			err = l.dec.Decode(&l.head.Name)
		case "strict":
			err = l.dec.Decode(&l.head.Strict)
		case "webhook":
			err = l.dec.Decode(&l.head.Webhook)
		case "defaults":
			l.dec.DisallowUnknownFields()
			err = l.dec.Decode(&l.head.Defaults)
		case "rooms":
			err = l.keep()
		default:
			return fmt.Errorf("%.40q is not known: %w", name, errNotAList)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		l.member.left = maxJSONRoom
	}
	if _, err := l.dec.Token(); err != nil { // }
		return err
	}
	if !seen["rooms"] {
		return errNotAList
	}
	return l.end()
}

// keep spools the rooms of an object.
func (l *jsonList) keep() error {
	t, err := l.dec.Token()
	if err != nil {
		return err
	}
	if t != json.Delim('[') {
		return errNotAList
	}
	for l.dec.More() {
		if err := l.next(); err != nil {
			return err
		}
		if _, err := l.line.WriteTo(&l.rooms); err != nil {
			return spoolProblem(err)
		}
	}
	_, err = l.dec.Token() // ]
	return err
}

// next appends the next room as a line.
func (l *jsonList) next() error {
	l.member.left = maxJSONRoom
	var room json.RawMessage
	if err := l.dec.Decode(&room); err != nil {
		return err
	}
	l.n++
	json.Compact(&l.line, room) // it is valid
	l.line.WriteByte('\n')
	return nil
}

// Read returns the rooms of an array.
func (l *jsonList) Read(p []byte) (int, error) {
	for l.line.Len() == 0 && l.err == nil {
		if l.dec.More() {
			l.err = l.fault(l.next())
		} else if _, err := l.dec.Token(); err != nil { // ]
			l.err = l.fault(err)
		} else {
			l.err = cmp.Or(l.fault(l.end()), io.EOF)
		}
	}
	if l.line.Len() > 0 {
		return l.line.Read(p)
	}
	return 0, l.err
}

// end checks that nothing follows.
func (l *jsonList) end() error {
	if t, err := l.dec.Token(); err != io.EOF {
		return cmp.Or(err, fmt.Errorf("there is more after its end: %.40v", t))
	}
	return nil
}

// spoolProblem returns the problem with a temporary file.
func spoolProblem(err error) error {
	if err == nil {
		return nil
	}
	return web.NewProblem(http.StatusInsufficientStorage, web.CodeNoDisk,
		"nothing was enqueued: the rooms of a JSON object need a temporary file: %v; send JSON lines or an array", err)
}

// fault returns the problem with the form of the body.
func (l *jsonList) fault(err error) error {
	var own *web.Problem
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil || errors.As(err, &own) || errors.As(err, &tooLarge):
		return err
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		err = errors.New("it ends too early")
	}
	where := ""
	if l.n > 0 {
		where = fmt.Sprintf(", after room %d", l.n)
	}
	return web.NewProblem(http.StatusUnprocessableEntity, web.CodeInvalid,
		"nothing was enqueued: the body is malformed%s: %v", where, err)
}
