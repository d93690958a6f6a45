package tiw_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common"

	"tiwsnap/tiw"
	"tiwsnap/tiw/tiwtest"
)

// simulator returns a simulator whose clock has an offset from the local clock, and a client for it. The simulator
// checks signatures, so an accepted request is signed correctly.
func simulator(t *testing.T, off *atomic.Int64) (*tiwtest.Server, *tiw.Client) {
	sim := tiwtest.Start(t, tiwtest.Options{
		Limit: -1,
		Clock: func() time.Time { return time.Now().Add(time.Duration(off.Load())) },
	})
	return sim, newClient(t, tiw.Options{
		Endpoint: sim.URL, Credential: common.NewCredential(tiwtest.DefaultSecret, tiwtest.DefaultSecret),
	})
}

func TestAWrongClock(t *testing.T) {
	t.Parallel()
	for _, off := range []time.Duration{10 * time.Minute, -10 * time.Minute, 23 * time.Hour, -23 * time.Hour} {
		t.Run("that is off by "+off.String()+" costs one call, and no task", func(t *testing.T) {
			t.Parallel()
			var ns atomic.Int64
			ns.Store(int64(off))
			sim, c := simulator(t, &ns)
			passed := 0
			gated := tiw.WithGate(t.Context(), func(context.Context) error { passed++; return nil }, nil)
			if got := c.ClockOffset(); got != 0 {
				t.Errorf("the offset is %s before the first call", got)
			}
			_, err := create(gated, c)
			e := failure(t, err)
			if e.Class != tiw.Clock || e.Code != "ClientError.ClockSkew" || e.RequestID == "" ||
				!strings.Contains(e.Message, "AuthFailure.SignatureExpire") {
				t.Errorf("got %+v", e)
			}
			if got := (c.ClockOffset() - off).Abs(); got > 5*time.Second {
				t.Errorf("learnt %s, want %s", c.ClockOffset(), off)
			}
			if _, err := create(gated, c); err != nil {
				t.Errorf("the next call: %v", err)
			}
			if _, err := describe(gated, c); failure(t, err).Code != "InvalidParameter.TaskNotFound" {
				t.Errorf("a call of the other action: %v", err)
			}
			want := map[string]int64{"AuthFailure.SignatureExpire": 1, "OK": 1, "InvalidParameter.TaskNotFound": 1}
			if diff := cmp.Diff(want, sim.State().Codes); diff != "" || passed != 3 {
				t.Errorf("the gate was passed %d times; calls (-want +got):\n%s", passed, diff)
			}
		})
	}

	t.Run("costs calls that are out together one each", func(t *testing.T) {
		t.Parallel()
		const calls = 32
		var ns atomic.Int64
		ns.Store(int64(-time.Hour))
		sim, c := simulator(t, &ns)
		var signed, done sync.WaitGroup
		signed.Add(calls)
		for range calls {
			done.Go(func() {
				_, err := create(tiw.WithGate(t.Context(), func(context.Context) error {
					signed.Done()
					signed.Wait()
					return nil
				}, nil), c)
				if e := failure(t, err); e.Class != tiw.Clock {
					t.Errorf("got %v", e)
				}
				if _, err := create(t.Context(), c); err != nil {
					t.Errorf("the next call: %v", err)
				}
			})
		}
		done.Wait()
		if n := sim.State().Tasks.Created; n != calls {
			t.Errorf("%d tasks, want %d", n, calls)
		}
	})

	t.Run("that changes again at once is for a person", func(t *testing.T) {
		t.Parallel()
		var ns atomic.Int64
		ns.Store(int64(time.Hour))
		_, c := simulator(t, &ns)
		_, err := create(t.Context(), c)
		if e := failure(t, err); e.Class != tiw.Clock {
			t.Errorf("got %v", e)
		}
		ns.Store(0)
		for range 2 {
			_, err := create(t.Context(), c)
			if e := failure(t, err); e.Class != tiw.Account || e.Code != "AuthFailure.SignatureExpire" {
				t.Errorf("got %v", e)
			}
		}
	})

	now := time.Now().UTC()
	for name, date := range map[string]string{
		"whose answer has no date":         "",
		"whose answer has no date to read": "half past ten",
		"that is right by the answer":      now.Add(time.Minute).Format(http.TimeFormat),
		"that is days off":                 now.Add(25 * time.Hour).Format(http.TimeFormat),
		"that is years off":                "Thu, 01 Jan 1970 00:00:00 GMT",
	} {
		t.Run(name+" is for a person", func(t *testing.T) {
			t.Parallel()
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header()["Date"] = nil // otherwise net/http adds one
				if date != "" {
					w.Header().Set("Date", date)
				}
				io.WriteString(w, errorEnvelope("AuthFailure.SignatureExpire"))
			})
			c := newClient(t, tiw.Options{Endpoint: s.URL})
			for range 2 {
				_, err := create(t.Context(), c)
				if e := failure(t, err); e.Class != tiw.Account || c.ClockOffset() != 0 {
					t.Errorf("got %v, offset %s", e, c.ClockOffset())
				}
			}
		})
	}

	t.Run("is not learnt from an answer that refuses something else", func(t *testing.T) {
		t.Parallel()
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Date", now.Add(time.Hour).Format(http.TimeFormat))
			io.WriteString(w, errorEnvelope("AuthFailure.SignatureFailure"))
		})
		c := newClient(t, tiw.Options{Endpoint: s.URL})
		_, err := create(t.Context(), c)
		if e := failure(t, err); e.Class != tiw.Account || c.ClockOffset() != 0 {
			t.Errorf("got %v, offset %s", e, c.ClockOffset())
		}
	})
}
