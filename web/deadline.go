package web

import (
	"net/http"
	"time"
)

// answerTime is the time in which each piece of an answer must be taken.
const AnswerTime = 30 * time.Second

// deadlineWriter writes an answer of any length, of which each piece must be
// taken within answerTime.
type DeadlineWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func NewDeadlineWriter(w http.ResponseWriter) *DeadlineWriter {
	return &DeadlineWriter{w, http.NewResponseController(w)}
}

func (d *DeadlineWriter) Write(b []byte) (int, error) {
	if err := d.control.SetWriteDeadline(time.Now().Add(AnswerTime)); err != nil {
		return 0, err
	}
	return d.w.Write(b)
}

// eventTime is the time in which an event must be taken.
const eventTime = 10 * time.Second

// event writes an event of a stream, at once.
func (d *DeadlineWriter) event(b []byte) error {
	if err := d.control.SetWriteDeadline(time.Now().Add(eventTime)); err != nil {
		return err
	}
	if _, err := d.w.Write(b); err != nil {
		return err
	}
	return d.control.Flush()
}
