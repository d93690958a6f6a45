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

func TestClockSkew(t *testing.T) {
	t.Parallel()
	for _, off := range []time.Duration{10 * time.Minute, -10 * time.Minute, 23 * time.Hour, -23 * time.Hour} {
		t.Run("an offset of "+off.String()+" fails one call and creates no task", func(t *testing.T) {
			t.Parallel()
			var ns atomic.Int64
			ns.Store(int64(off))
			sim, c := simulator(t, &ns)
			permits := 0
			gated := tiw.WithGate(t.Context(), func(context.Context) error { permits++; return nil }, nil)
			if got := c.ClockOffset(); got != 0 {
				t.Errorf("ClockOffset() = %s before the first call, want 0", got)
			}
			_, err := create(gated, c)
			e := apiError(t, err)
			if e.Class != tiw.Clock || e.Code != "ClientError.ClockSkew" || e.RequestID == "" ||
				!strings.Contains(e.Message, "AuthFailure.SignatureExpire") {
				t.Errorf("got %+v, want ClientError.ClockSkew of class clock", e)
			}
			if got := (c.ClockOffset() - off).Abs(); got > 5*time.Second {
				t.Errorf("ClockOffset() = %s, want %s", c.ClockOffset(), off)
			}
			if _, err := create(gated, c); err != nil {
				t.Errorf("the next call: %v", err)
			}
			if _, err := describe(gated, c); apiError(t, err).Code != "InvalidParameter.TaskNotFound" {
				t.Errorf("call of the other action: got %v, want InvalidParameter.TaskNotFound", err)
			}
			want := map[string]int64{"AuthFailure.SignatureExpire": 1, "OK": 1, "InvalidParameter.TaskNotFound": 1}
			if diff := cmp.Diff(want, sim.State().Codes); diff != "" || permits != 3 {
				t.Errorf("the gate gave %d permits, want 3; responses by code (-want +got):\n%s", permits, diff)
			}
		})
	}

	t.Run("each concurrent call fails once", func(t *testing.T) {
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
				if e := apiError(t, err); e.Class != tiw.Clock {
					t.Errorf("got %v, want class clock", e)
				}
				if _, err := create(t.Context(), c); err != nil {
					t.Errorf("the next call: %v", err)
				}
			})
		}
		done.Wait()
		if n := sim.State().Tasks.Created; n != calls {
			t.Errorf("%d tasks were created, want %d", n, calls)
		}
	})

	t.Run("a second change within a minute is an account error", func(t *testing.T) {
		t.Parallel()
		var ns atomic.Int64
		ns.Store(int64(time.Hour))
		_, c := simulator(t, &ns)
		_, err := create(t.Context(), c)
		if e := apiError(t, err); e.Class != tiw.Clock {
			t.Errorf("got %v, want class clock", e)
		}
		ns.Store(0)
		for range 2 {
			_, err := create(t.Context(), c)
			if e := apiError(t, err); e.Class != tiw.Account || e.Code != "AuthFailure.SignatureExpire" {
				t.Errorf("got %v, want AuthFailure.SignatureExpire of class account", e)
			}
		}
	})

	now := time.Now().UTC()
	for name, date := range map[string]string{
		"no Date header":                    "",
		"an invalid Date header":            "half past ten",
		"a Date header that agrees":         now.Add(time.Minute).Format(http.TimeFormat),
		"a Date header that is a day off":   now.Add(25 * time.Hour).Format(http.TimeFormat),
		"a Date header that is decades off": "Thu, 01 Jan 1970 00:00:00 GMT",
	} {
		t.Run(name+" is an account error", func(t *testing.T) {
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
				if e := apiError(t, err); e.Class != tiw.Account || c.ClockOffset() != 0 {
					t.Errorf("got %v, offset %s, want class account and no offset", e, c.ClockOffset())
				}
			}
		})
	}

	t.Run("other errors do not change the offset", func(t *testing.T) {
		t.Parallel()
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Date", now.Add(time.Hour).Format(http.TimeFormat))
			io.WriteString(w, errorEnvelope("AuthFailure.SignatureFailure"))
		})
		c := newClient(t, tiw.Options{Endpoint: s.URL})
		_, err := create(t.Context(), c)
		if e := apiError(t, err); e.Class != tiw.Account || c.ClockOffset() != 0 {
			t.Errorf("got %v, offset %s, want class account and no offset", e, c.ClockOffset())
		}
	})
}
