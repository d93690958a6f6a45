package webhook_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"tiwsnap/webhook"
)

// busy returns the error of a host that is busy or whose breaker is open.
func busy(t *testing.T, err error) *webhook.BusyError {
	t.Helper()
	var e *webhook.BusyError
	if !errors.As(err, &e) {
		t.Fatalf("got %v", err)
	}
	return e
}

func TestShareOfAHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s webhook.Hosts
		var releases []func(bool, error)
		for range 8 {
			release, err := s.Acquire(t.Context(), "a.test")
			if err != nil {
				t.Fatal(err)
			}
			releases = append(releases, release)
		}
		ninth := make(chan error, 1)
		go func() {
			release, err := s.Acquire(t.Context(), "a.test")
			if err == nil {
				defer release(true, nil)
			}
			ninth <- err
		}()
		synctest.Wait()
		select {
		case err := <-ninth:
			t.Fatalf("a ninth request does not wait: %v", err)
		default:
		}
		if release, err := s.Acquire(t.Context(), "b.test"); err != nil {
			t.Errorf("another host waits: %v", err)
		} else {
			release(true, nil)
		}
		releases[0](true, nil)
		if err := <-ninth; err != nil {
			t.Errorf("the place that became free is not used: %v", err)
		}

		// All 8 places are taken again. The time of waiting and the number of waiters are bounded.
		if release, err := s.Acquire(t.Context(), "a.test"); err != nil {
			t.Fatal(err)
		} else {
			releases[0] = release
		}
		began := time.Now()
		errs := make(chan error, 57)
		for range 57 {
			go func() {
				_, err := s.Acquire(t.Context(), "a.test")
				errs <- err
			}()
		}
		synctest.Wait()
		if len(errs) != 1 || busy(t, <-errs).Err != nil {
			t.Errorf("%d of 57 were turned away at once, want 1", len(errs)+1)
		}
		for range 56 {
			busy(t, <-errs)
		}
		if d := time.Since(began); d != 20*time.Second {
			t.Errorf("they waited for %s", d)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := s.Acquire(ctx, "a.test")
		busy(t, err)
		for _, release := range releases {
			release(true, nil)
		}
	})
}

func TestBreakerOfAHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type change struct {
			wait time.Duration
			open bool
		}
		var changes []change
		s := webhook.Hosts{Changed: func(host string, until time.Time, err error) {
			changes = append(changes, change{max(time.Until(until), 0), err != nil})
		}}
		away := &webhook.Error{Host: "a.test", Err: errors.New("no answer within 10s")}
		try := func(err error) {
			t.Helper()
			release, refused := s.Acquire(t.Context(), "a.test")
			if refused != nil {
				t.Fatal(refused)
			}
			release(true, err)
		}
		expect := func(want ...change) {
			t.Helper()
			if len(changes) != len(want) || len(want) > 0 && changes[0] != want[0] {
				t.Fatalf("got %v, want %v", changes, want)
			}
			changes = nil
		}
		// Any other answer shows that the host is up.
		for range 3 {
			for range 4 {
				try(away)
			}
			try(&webhook.Error{Host: "a.test", Status: 404})
		}
		expect()
		for range 5 {
			try(&webhook.Error{Host: "a.test", Status: 503})
		}
		expect(change{5 * time.Second, true})
		_, err := s.Acquire(t.Context(), "a.test")
		if e := busy(t, err); e.After < 6*time.Second || e.After > 16*time.Second || e.Err == nil {
			t.Errorf("%v in %s", e, e.After)
		}
		for _, next := range []time.Duration{10, 20, 40, 80, 160, 300, 300} {
			time.Sleep(5 * time.Minute)
			probe, err := s.Acquire(t.Context(), "a.test")
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.Acquire(t.Context(), "a.test")
			busy(t, err) // one probe at a time
			probe(true, away)
			expect(change{next * time.Second, true})
		}
		// A probe that was not sent says nothing about the host, and the next one follows at once.
		time.Sleep(5 * time.Minute)
		probe, err := s.Acquire(t.Context(), "a.test")
		if err != nil {
			t.Fatal(err)
		}
		probe(false, nil)
		expect()
		// A receiver that asks for more time gets it.
		try(&webhook.Error{Host: "a.test", Status: 429, RetryAfter: time.Hour})
		expect(change{time.Hour, true})
		time.Sleep(time.Hour)
		try(nil)
		expect(change{0, false})
		for range 4 {
			try(away)
		}
		expect()
	})
}
