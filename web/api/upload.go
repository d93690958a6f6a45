package api

import (
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"mime"
	"net/http"
	"time"

	"tiwsnap/internal/rooms"
	"tiwsnap/web"
)

// Bounds of uploaded lists. Of each row only 8 bytes stay in memory, which find duplicates.
const (
	// maxUpload is the size of a list in bytes: two million rows of 500 bytes. A plain row takes 20.
	maxUpload = 1 << 30
	// maxUploadRows bounds the rooms of a list: more than a day's work at 20 a second.
	maxUploadRows = 2_000_000
	// maxUploads bounds the lists that a process reads at a time, and maxOwnUploads those of one principal.
	maxUploads    = 8
	maxOwnUploads = 4
	// uploadPace is the time in which the next uploadStep bytes must come.
	uploadPace = 30 * time.Second
	uploadStep = 64 << 10
)

// listFormat is the format of a list.
type listFormat int

const (
	listCSV listFormat = iota
	listJSONLines
	listJSON
	listAny // a workbook, or detected from the content
)

// typeWorkbook is the media type of an .xlsx file.
const typeWorkbook = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

// formatOf returns the format of a list by its media type, and its encoding if that is named. The error is a *Problem.
func formatOf(r *http.Request) (listFormat, rooms.Encoding, error) {
	var encoding rooms.Encoding
	refused := func(what string) (listFormat, rooms.Encoding, error) {
		return 0, encoding, web.NewProblem(http.StatusUnsupportedMediaType, web.CodeMediaType,
			"%s; send text/csv, %s (.xlsx), application/x-ndjson (JSON lines) or application/json, not compressed",
			what, typeWorkbook)
	}
	if e := r.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return refused(fmt.Sprintf("Content-Encoding %.40q is not supported", e))
	}
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return refused("Content-Type is missing or wrong")
	}
	// Clients add UTF-8 without checking.
	if c := params["charset"]; c != "" && !utf8Name[c] {
		if encoding, err = rooms.ParseEncoding(c); err != nil {
			return refused(fmt.Sprintf("charset %v", err))
		}
	}
	format, ok := formatOfMedia(media)
	if !ok {
		return refused(fmt.Sprintf("Content-Type %.60q is not supported", media))
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

// upload reads a large body. Bytes must keep coming. After too many it returns an *http.MaxBytesError.
type upload struct {
	body    io.Reader
	control *http.ResponseController
	pace    time.Duration // in which the next uploadStep bytes must come
	sum     hash.Hash
	size    int64
	due     int64 // size at which the deadline moves
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

// fault returns the problem for a fault of the client.
func (u *upload) fault(err error) error {
	var tooLarge *http.MaxBytesError
	var slow interface{ Timeout() bool }
	switch {
	case err == nil || err == io.EOF || errors.As(err, &tooLarge):
		return err
	case errors.As(err, &slow) && slow.Timeout():
		return web.NewProblem(http.StatusRequestTimeout, web.CodeTimeout,
			"nothing was enqueued: the upload stalled, %d bytes must come every %s", uploadStep, u.pace)
	}
	return web.NewProblem(http.StatusBadRequest, web.CodeInvalid, "nothing was enqueued: the body broke off: %v", err)
}

// finish is called before the answer, when nothing more is read. net/http reads some of the rest of the body before it
// sends the answer.
func (u *upload) finish() {
	u.control.SetReadDeadline(time.Now().Add(u.pace))
	u.control.SetWriteDeadline(time.Now().Add(web.AnswerTime))
}

// digest reads the rest and returns the hash of the whole body, in hexadecimal.
func (u *upload) digest() (string, error) {
	if _, err := io.Copy(io.Discard, u); err != nil {
		return "", err
	}
	return hex.EncodeToString(u.sum.Sum(nil)), nil
}
