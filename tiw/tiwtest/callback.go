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

// Envelope is the form of a callback's body. What Tencent really sends when a
// snapshot ends is not documented: each of these is an assumption.
type Envelope string

const (
	// EnvelopeTIW is the event form that Tencent documents for transcoding and
	// recording: EventType, EventData, SdkAppId, Timestamp and, with a key,
	// ExpireTime and Sign = md5(key + ExpireTime). The EventType is made up.
	EnvelopeTIW Envelope = "tiw"
	// EnvelopeFlat has every field of the result at the top.
	EnvelopeFlat Envelope = "flat"
	// EnvelopeResult is the answer of DescribeSnapshotTask.
	EnvelopeResult Envelope = "result"
	// EnvelopeEmpty is {}: only the URL tells anything.
	EnvelopeEmpty Envelope = "empty"
)

const (
	signLife       = 10 * time.Minute // of a callback's Sign; made up
	maxOutbox      = 100_000          // callbacks that wait for a sender; above, the oldest are dropped
	callbackAnswer = 64 << 10         // bytes of a receiver's answer that are read
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

// settle ends the tasks whose time has come and puts their callbacks into the
// outbox. The caller holds the lock.
func (s *Server) settle(now int64) {
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
			s.outbox.push(delivery{*t, e.tries})
			continue
		}
		if t.callback == "" || t.told {
			continue
		}
		rng := rand.New(rand.NewPCG(s.opt.Seed, ^e.seq))
		if rng.Float64() < s.faults.CallbackLost {
			s.struck["callbackLost"]++
			continue
		}
		at := t.ends + int64(s.faults.CallbackDelay)
		s.tasks.plan(event{at: at, seq: e.seq, callback: true})
		if rng.Float64() < s.faults.CallbackDouble {
			s.struck["callbackDouble"]++
			s.tasks.plan(event{at: at, seq: e.seq, callback: true})
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

// sendCallbacks sends what becomes due until the server is closed.
func (s *Server) sendCallbacks() {
	slots := make(chan struct{}, s.opt.CallbackSenders)
	for {
		s.mu.Lock()
		now := s.now()
		s.settle(now)
		var d delivery
		waiting := s.outbox.len() > 0
		if waiting {
			d = s.outbox.pop()
		}
		pause := time.Hour
		if len(s.tasks.agenda) > 0 {
			// With a clock that stands still this must not become a busy loop.
			pause = max(time.Duration(s.tasks.agenda[0].at-now), time.Millisecond)
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

// delivery is a callback that is to be sent now.
type delivery struct {
	task
	tries int // that have failed
}

// sendCallback posts one callback and counts what became of it. One that
// failed is sent again where the faults say so: whether Tencent does that is
// not documented.
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
	if seq, kept := s.tasks.byID[d.id]; kept && d.tries < s.faults.CallbackRetries {
		s.struck["callbackRetried"]++
		s.tasks.plan(event{at: s.now() + int64(s.faults.CallbackRetryAfter), seq: seq, callback: true, tries: d.tries + 1})
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
