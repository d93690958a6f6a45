package webhook_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"tiwsnap/webhook"
)

// busyError returns the error of Acquire for a host that is busy or whose breaker is open.
func busyError(t *testing.T, err error) *webhook.BusyError {
	t.Helper()
	var e *webhook.BusyError
	if !errors.As(err, &e) {
		t.Fatalf("Acquire(): error = %v, want *webhook.BusyError", err)
	}
	return e
}

func TestConcurrencyPerHost(t *testing.T) {
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
			t.Fatalf("Acquire() of the ninth request did not wait: %v", err)
		default:
		}
		if release, err := s.Acquire(t.Context(), "b.test"); err != nil {
			t.Errorf("Acquire() of another host: %v", err)
		} else {
			release(true, nil)
		}
		releases[0](true, nil)
		if err := <-ninth; err != nil {
			t.Errorf("Acquire() of the ninth request after a release: %v", err)
		}

		// 8 requests are in flight again. The wait and the number of waiters are bounded.
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
		if len(errs) != 1 || busyError(t, <-errs).Err != nil {
			t.Errorf("%d of 57 requests were refused at once, want 1", len(errs)+1)
		}
		for range 56 {
			busyError(t, <-errs)
		}
		if d := time.Since(began); d != 20*time.Second {
			t.Errorf("the others waited for %s, want 20s", d)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := s.Acquire(ctx, "a.test")
		busyError(t, err)
		for _, release := range releases {
			release(true, nil)
		}
	})
}

func TestBreakerPerHost(t *testing.T) {
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
		send := func(err error) {
			t.Helper()
			release, refused := s.Acquire(t.Context(), "a.test")
			if refused != nil {
				t.Fatal(refused)
			}
			release(true, err)
		}
		wantChanges := func(want ...change) {
			t.Helper()
			if len(changes) != len(want) || len(want) > 0 && changes[0] != want[0] {
				t.Fatalf("changes of the breaker = %v, want %v", changes, want)
			}
			changes = nil
		}
		// Any other answer shows that the host is up.
		for range 3 {
			for range 4 {
				send(away)
			}
			send(&webhook.Error{Host: "a.test", Status: 404})
		}
		wantChanges()
		for range 5 {
			send(&webhook.Error{Host: "a.test", Status: 503})
		}
		wantChanges(change{5 * time.Second, true})
		_, err := s.Acquire(t.Context(), "a.test")
		if e := busyError(t, err); e.After < 6*time.Second || e.After > 16*time.Second || e.Err == nil {
			t.Errorf("Acquire(): error = %v, retry in %s, want 6 to 16 s", e, e.After)
		}
		for _, next := range []time.Duration{10, 20, 40, 80, 160, 300, 300} {
			time.Sleep(5 * time.Minute)
			probe, err := s.Acquire(t.Context(), "a.test")
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.Acquire(t.Context(), "a.test")
			busyError(t, err) // one probe at a time
			probe(true, away)
			wantChanges(change{next * time.Second, true})
		}
		// A probe that was not sent says nothing about the host, and the next one follows at once.
		time.Sleep(5 * time.Minute)
		probe, err := s.Acquire(t.Context(), "a.test")
		if err != nil {
			t.Fatal(err)
		}
		probe(false, nil)
		wantChanges()
		// A receiver that asks for more time gets it.
		send(&webhook.Error{Host: "a.test", Status: 429, RetryAfter: time.Hour})
		wantChanges(change{time.Hour, true})
		time.Sleep(time.Hour)
		send(nil)
		wantChanges(change{0, false})
		for range 4 {
			send(away)
		}
		wantChanges()
	})
}
