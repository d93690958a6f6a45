package web

import (
	"net/http"
	"time"
)

// deadlineWriter writes an answer of any length, of which each piece must be
// taken within answerTime.
type deadlineWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func newDeadlineWriter(w http.ResponseWriter) *deadlineWriter {
	return &deadlineWriter{w, http.NewResponseController(w)}
}

func (d *deadlineWriter) Write(b []byte) (int, error) {
	if err := d.control.SetWriteDeadline(time.Now().Add(answerTime)); err != nil {
		return 0, err
	}
	return d.w.Write(b)
}

// eventTime is the time in which an event must be taken.
const eventTime = 10 * time.Second

// event writes an event of a stream, at once.
func (d *deadlineWriter) event(b []byte) error {
	if err := d.control.SetWriteDeadline(time.Now().Add(eventTime)); err != nil {
		return err
	}
	if _, err := d.w.Write(b); err != nil {
		return err
	}
	return d.control.Flush()
}
