package tiwtest

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// Envelope is the form of a callback's body. Each form is an assumption: Tencent
// does not document the callback of a snapshot.
type Envelope string

const (
	// EnvelopeTIW is the event form that Tencent documents for transcoding and
	// recording: EventType, EventData, SdkAppId, Timestamp and, with a key,
	// ExpireTime and Sign = md5(key + ExpireTime). The EventType is made up.
	EnvelopeTIW Envelope = "tiw"
	// EnvelopeFlat has all fields of the result at the top level.
	EnvelopeFlat Envelope = "flat"
	// EnvelopeResult is the response of DescribeSnapshotTask.
	EnvelopeResult Envelope = "result"
	// EnvelopeEmpty is {}: only the URL identifies the task.
	EnvelopeEmpty Envelope = "empty"
)

const (
	signLife       = 10 * time.Minute // validity of Sign; made up
	maxOutbox      = 100_000          // pending callbacks; beyond it the oldest is dropped
	callbackAnswer = 64 << 10         // bytes of a response that are read
)

// body encodes the callback of an ended task.
func (e Envelope) body(t *task, now time.Time, key Secret) ([]byte, error) {
	d := describe(t, t.ends)
	switch e {
	case EnvelopeFlat:
		return json.Marshal(struct {
			TaskID     string
			SdkAppId   uint64
			RoomId     uint64
			Status     string
			CreateTime int64
			FinishTime *int64
			snapshotResult
		}{d.TaskID, t.room.app, t.room.id, d.Status, d.CreateTime, d.FinishTime, *d.Result})
	case EnvelopeResult:
		return json.Marshal(d)
	case EnvelopeEmpty:
		return []byte("{}"), nil
	}
	type event struct {
		EventType  string
		EventData  any
		SdkAppId   uint64
		Timestamp  int64
		ExpireTime int64  `json:",omitempty"`
		Sign       string `json:",omitempty"`
	}
	ev := event{EventType: "SnapshotTaskFinished", EventData: d, SdkAppId: t.room.app, Timestamp: now.Unix()}
	if key != "" {
		ev.ExpireTime = now.Add(signLife).Unix()
		ev.Sign = sign(key, ev.ExpireTime)
	}
	return json.Marshal(ev)
}

func sign(key Secret, expire int64) string {
	sum := md5.Sum([]byte(string(key) + strconv.FormatInt(expire, 10)))
	return hex.EncodeToString(sum[:])
}

// endDueTasks ends the tasks that are due by now and adds their callbacks to the
// outbox. The caller holds the lock.
func (s *Server) endDueTasks(now int64) {
	for {
		e, t, ok := s.tasks.due(now)
		if !ok {
			break
		}
		if e.callback {
			if s.outbox.len() == maxOutbox {
				s.outbox.pop()
				s.callbacks.Dropped++
			}
			s.outbox.push(delivery{*t, e.attempts})
			continue
		}
		if t.callback == "" || t.earlyCallback {
			continue
		}
		rng := rand.New(rand.NewPCG(s.opt.Seed, ^e.seq))
		if rng.Float64() < s.faults.CallbackLost {
			s.faultCounts["callbackLost"]++
			continue
		}
		at := t.ends + int64(s.faults.CallbackDelay)
		s.tasks.schedule(event{at: at, seq: e.seq, callback: true})
		if rng.Float64() < s.faults.CallbackDouble {
			s.faultCounts["callbackDouble"]++
			s.tasks.schedule(event{at: at, seq: e.seq, callback: true})
		}
	}
	if s.outbox.len() > 0 {
		s.wakeSender()
	}
}

func (s *Server) wakeSender() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// sendCallbacks sends callbacks when they are due, until the server is closed.
func (s *Server) sendCallbacks() {
	slots := make(chan struct{}, s.opt.CallbackSenders)
	for {
		s.mu.Lock()
		now := s.now()
		s.endDueTasks(now)
		var d delivery
		waiting := s.outbox.len() > 0
		if waiting {
			d = s.outbox.pop()
		}
		pause := time.Hour
		if len(s.tasks.events) > 0 {
			// The minimum prevents a busy loop with a test clock that stands still.
			pause = max(time.Duration(s.tasks.events[0].at-now), time.Millisecond)
		}
		s.mu.Unlock()

		if !waiting {
			timer := time.NewTimer(pause)
			select {
			case <-s.ctx.Done():
			case <-timer.C:
			case <-s.wake:
			}
			timer.Stop()
			if s.ctx.Err() != nil {
				return
			}
			continue
		}
		select {
		case <-s.ctx.Done():
			return
		case slots <- struct{}{}:
		}
		s.wg.Go(func() {
			s.sendCallback(d)
			<-slots
		})
	}
}

// delivery is a callback in the outbox.
type delivery struct {
	task
	attempts int // failed attempts
}

// sendCallback posts a callback and counts its result. A failed callback is
// retried if Faults.CallbackRetries is set: Tencent does not document retries.
func (s *Server) sendCallback(d delivery) {
	ctx, cancel := context.WithTimeout(s.ctx, s.opt.CallbackTimeout)
	defer cancel()
	status, err := s.post(ctx, &d.task)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.callbacks.Sent++
	switch {
	case err != nil:
		s.callbacks.Unreached++
	case status < 200 || status > 299:
		s.callbacks.Refused++
	default:
		s.callbacks.Delivered++
		return
	}
	if seq, kept := s.tasks.byID[d.id]; kept && d.attempts < s.faults.CallbackRetries {
		s.faultCounts["callbackRetried"]++
		at := s.now() + int64(s.faults.CallbackRetryAfter)
		s.tasks.schedule(event{at: at, seq: seq, callback: true, attempts: d.attempts + 1})
		s.wakeSender()
	}
}

func (s *Server) post(ctx context.Context, t *task) (status int, err error) {
	body, err := s.opt.Envelope.body(t, s.opt.Clock(), s.opt.CallbackKey)
	if err != nil {
		return 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.callback, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, callbackAnswer))
	return resp.StatusCode, err
}
