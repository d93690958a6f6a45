package web

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"
	"mime"
	"net/http"
	"time"

	"tiwsnap/internal/rooms"
	"tiwsnap/internal/spool"
	"tiwsnap/tasks"
)

// Bounds of the lists that are uploaded. Memory does not grow with a list but
// for 8 bytes a row, which tell rooms apart.
const (
	// maxUpload is the size of a list in bytes: two million rows of 500 bytes,
	// where a plain row takes 20.
	maxUpload = 1 << 30
	// maxUploadRows is the rooms in a list: more than a day's work at 20 a
	// second.
	maxUploadRows = 2_000_000
	// maxUploads is how many lists a process takes in at a time, and
	// maxOwnUploads how many of one principal.
	maxUploads    = 8
	maxOwnUploads = 4
	// uploadPace is the time in which the next uploadStep bytes must come.
	uploadPace = 30 * time.Second
	uploadStep = 64 << 10
	// answerTime is the time in which an answer must be taken, from when it is
	// there.
	answerTime = 30 * time.Second
)

// listFormat is the format of a list.
type listFormat int

const (
	listCSV listFormat = iota
	listJSONLines
	listJSON
	listAny // a workbook, or what the content shows
)

// typeWorkbook is the media type of an .xlsx file.
const typeWorkbook = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

// formatOf finds the format by the media type, and the encoding that it names.
// The error is a *Problem.
func formatOf(r *http.Request) (listFormat, rooms.Encoding, error) {
	var encoding rooms.Encoding
	refused := func(what string) (listFormat, rooms.Encoding, error) {
		return 0, encoding, problem(http.StatusUnsupportedMediaType, codeMediaType,
			"%s; send text/csv, %s (.xlsx), application/x-ndjson (JSON lines) or application/json, not compressed",
			what, typeWorkbook)
	}
	if e := r.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return refused(fmt.Sprintf("Content-Encoding %.40q is not understood", e))
	}
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return refused("Content-Type is missing or wrong")
	}
	// Clients add UTF-8 without a look at the list.
	if c := params["charset"]; c != "" && !utf8Name[c] {
		if encoding, err = rooms.ParseEncoding(c); err != nil {
			return refused(fmt.Sprintf("charset %v", err))
		}
	}
	format, ok := formatOfMedia(media)
	if !ok {
		return refused(fmt.Sprintf("Content-Type %.60q is not understood", media))
	}
	return format, encoding, nil
}

func formatOfMedia(media string) (format listFormat, ok bool) {
	switch media {
	case "text/csv":
		return listCSV, true
	case "application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines",
		"application/json-lines":
		return listJSONLines, true
	case "application/json":
		return listJSON, true
	case typeWorkbook, "application/octet-stream",
		"application/vnd.ms-excel": // browsers on Windows send that for .csv, too
		return listAny, true
	}
	return 0, false
}

var utf8Name = map[string]bool{"utf-8": true, "UTF-8": true, "utf8": true, "us-ascii": true}

// upload is the body of a request that may be large. Its bytes must keep
// coming, and it ends with an *http.MaxBytesError after too many.
type upload struct {
	body    io.Reader
	control *http.ResponseController
	pace    time.Duration // in which the next uploadStep bytes must come
	sum     hash.Hash
	size    int64
	due     int64 // size at which there is time again
}

func newUpload(w http.ResponseWriter, r *http.Request, limit int64, pace time.Duration, sum hash.Hash) *upload {
	return &upload{body: http.MaxBytesReader(w, r.Body, limit), control: http.NewResponseController(w),
		pace: pace, sum: sum}
}

func (u *upload) Read(p []byte) (int, error) {
	if u.size >= u.due {
		u.due = u.size + uploadStep
		if err := u.control.SetReadDeadline(time.Now().Add(u.pace)); err != nil {
			return 0, err
		}
	}
	n, err := u.body.Read(p)
	u.sum.Write(p[:n])
	u.size += int64(n)
	return n, u.fault(err)
}

// fault makes a Problem of what is the client's.
func (u *upload) fault(err error) error {
	var tooLarge *http.MaxBytesError
	var slow interface{ Timeout() bool }
	switch {
	case err == nil || err == io.EOF || errors.As(err, &tooLarge):
		return err
	case errors.As(err, &slow) && slow.Timeout():
		return problem(http.StatusRequestTimeout, codeTimeout,
			"nothing was enqueued: the upload has stood still, %d bytes must come every %s", uploadStep, u.pace)
	}
	return problem(http.StatusBadRequest, codeInvalid, "nothing was enqueued: the body broke off: %v", err)
}

// finish is called when nothing more is read, before the answer. net/http reads
// some of what is left of the body before it sends that.
func (u *upload) finish() {
	u.control.SetReadDeadline(time.Now().Add(u.pace))
	u.control.SetWriteDeadline(time.Now().Add(answerTime))
}

// digest reads the rest and returns what stands for the whole.
func (u *upload) digest() (string, error) {
	if _, err := io.Copy(io.Discard, u); err != nil {
		return "", err
	}
	return hex.EncodeToString(u.sum.Sum(nil)), nil
}

// rowReport is what was wrong with the rows of a list, and what else is to be
// told about it.
type rowReport struct {
	bad    int
	faults []Fault
	notes  []Note
}

// Note is something about a list that is no fault.
type Note struct {
	Line int    `json:"line,omitempty" doc:"From 1; left out if it is about the whole list"`
	Text string `json:"text" example:"the text is read as gb18030, as its bytes suggest"`
}

func (r *rowReport) note(n rooms.Note) {
	if len(r.notes) < maxFaults {
		r.notes = append(r.notes, Note{n.Line, n.Text})
	}
}

func (r *rowReport) add(line int, all []rooms.Fault) {
	r.bad++
	for _, f := range faults(line, all) {
		if len(r.faults) < maxFaults {
			r.faults = append(r.faults, f)
		}
	}
}

// goodRooms yields the rooms of the rows that are in order, and notes the
// others in the report. The last thing it yields is an error if nothing may be
// enqueued; strict: if any row is wrong.
func goodRooms(rows iter.Seq2[rooms.Row, error], strict bool, report *rowReport) iter.Seq2[tasks.Room, error] {
	return func(yield func(tasks.Room, error) bool) {
		good := 0
		for row, err := range rows {
			var bad *rooms.RowError
			switch {
			case errors.As(err, &bad):
				report.add(bad.Line, bad.Faults)
			case err != nil:
				yield(tasks.Room{}, err)
				return
			case strict && report.bad > 0:
				good++ // nothing will come of it: only the faults are still of interest
			default:
				good++
				if !yield(row.Room, nil) {
					return
				}
			}
		}
		if good == 0 || strict && report.bad > 0 {
			p := problem(http.StatusUnprocessableEntity, codeInvalid,
				"nothing was enqueued: no row is in order, %d wrong", report.bad)
			if good > 0 {
				p.Detail = fmt.Sprintf("nothing was enqueued: %d of the rows wrong, and strict was asked for", report.bad)
			}
			p.Faults = report.faults
			yield(tasks.Room{}, p)
		}
	}
}

// batchHead is what a JSON object says beside its rooms.
type batchHead struct {
	Name     string     `json:"name,omitempty" pattern:"^[a-z0-9][a-z0-9-]{0,63}$" doc:"Id; default: a new one"`
	Strict   bool       `json:"strict,omitempty" doc:"Enqueue nothing if any room is wrong"`
	Webhook  string     `json:"webhook,omitempty" doc:"URL that is told of the end, if the configuration allows its host"`
	Defaults tasks.Room `json:"defaults,omitempty" doc:"What rooms leave out"`
}

// over puts what a query says over the head. The error is a *Problem where they
// contradict each other.
func (h batchHead) over(query batchHead) (batchHead, error) {
	for _, p := range []struct {
		field       string
		body, query *string
	}{{"name", &h.Name, &query.Name}, {"webhook", &h.Webhook, &query.Webhook}} {
		if *p.body != "" && *p.query != "" && *p.body != *p.query {
			return h, invalid(p.field, "is one thing in the query and another in the body")
		}
		*p.body = cmp.Or(*p.body, *p.query)
	}
	h.Strict = h.Strict || query.Strict
	h.Defaults = h.Defaults.Over(query.Defaults)
	if h.Name != "" && !tasks.ValidBatchID(h.Name) {
		return h, invalid("name", "must be 1 to 64 of a-z, 0-9 and -, and not begin with -")
	}
	return h, nil
}

// invalid is a problem with one field or parameter.
func invalid(field, reason string) *Problem {
	p := problem(http.StatusUnprocessableEntity, codeInvalid, "%s %s", field, reason)
	p.Faults = []Fault{{Field: field, Reason: reason}}
	return p
}

// maxJSONRoom bounds one member of a JSON body, in bytes, far above the limit
// of a row: what is between is a row that is wrong.
const maxJSONRoom = 1 << 20

// jsonList reads the rooms of a JSON body as JSON lines, a line for each: those
// of an array as they come, those of an object when all of it has come, since
// its members have no order.
type jsonList struct {
	head   batchHead
	object bool
	rooms  spool.Spool // of an object
	budget *budget
	dec    *json.Decoder
	line   bytes.Buffer
	n      int // rooms
	err    error
}

// budget is a reader that fails where one member of a body is too large.
type budget struct {
	r    io.Reader
	left int
}

func (b *budget) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, problem(http.StatusUnprocessableEntity, codeInvalid,
			"nothing was enqueued: one member of the body is larger than %d bytes", maxJSONRoom)
	}
	n, err := b.r.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// newJSONList reads an object to its end, and of an array nothing yet. The
// error is a *Problem, or the reader's. Close the list.
func newJSONList(r io.Reader) (*jsonList, error) {
	l := &jsonList{budget: &budget{r: r, left: maxJSONRoom}}
	l.dec = json.NewDecoder(l.budget)
	if err := l.open(); err != nil {
		l.Close()
		return nil, l.fault(err)
	}
	return l, nil
}

// Close drops what is left.
func (l *jsonList) Close() { l.rooms.Close() }

// lines gives the rooms.
func (l *jsonList) lines() (io.Reader, error) {
	if l.object {
		r, err := l.rooms.Reader()
		return r, noDisk(err)
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
		l.budget.left = maxJSONRoom
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
			return noDisk(err)
		}
	}
	_, err = l.dec.Token() // ]
	return err
}

// next makes the next room a line.
func (l *jsonList) next() error {
	l.budget.left = maxJSONRoom
	var room json.RawMessage
	if err := l.dec.Decode(&room); err != nil {
		return err
	}
	l.n++
	json.Compact(&l.line, room) // it is valid
	l.line.WriteByte('\n')
	return nil
}

// Read gives the rooms of an array.
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

// noDisk is the Problem with a temporary file.
func noDisk(err error) error {
	if err == nil {
		return nil
	}
	return problem(http.StatusInsufficientStorage, codeNoDisk,
		"nothing was enqueued: the rooms of a JSON object lie in a temporary file here "+
			"until it has come whole, and there is none: %v; send JSON lines or an array", err)
}

// fault makes a Problem of an error in the body's form.
func (l *jsonList) fault(err error) error {
	var own *Problem
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
	return problem(http.StatusUnprocessableEntity, codeInvalid,
		"nothing was enqueued: the body is not what it should be%s: %v", where, err)
}
