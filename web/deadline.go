package web

import (
	"net/http"
	"time"
)

// AnswerTime is the time in which the client must take each piece of an answer.
const AnswerTime = 30 * time.Second

// DeadlineWriter writes an answer of any length. The client must take each piece within AnswerTime.
type DeadlineWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

// NewDeadlineWriter returns a DeadlineWriter for an answer.
func NewDeadlineWriter(w http.ResponseWriter) *DeadlineWriter {
	return &DeadlineWriter{w, http.NewResponseController(w)}
}

func (d *DeadlineWriter) Write(b []byte) (int, error) {
	if err := d.control.SetWriteDeadline(time.Now().Add(AnswerTime)); err != nil {
		return 0, err
	}
	return d.w.Write(b)
}

// eventTime is the time in which the client must take an event.
const eventTime = 10 * time.Second

// event writes an event of a stream and flushes it.
func (d *DeadlineWriter) event(b []byte) error {
	if err := d.control.SetWriteDeadline(time.Now().Add(eventTime)); err != nil {
		return err
	}
	if _, err := d.w.Write(b); err != nil {
		return err
	}
	return d.control.Flush()
}
