package callback_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/web/callback"
)

func TestRecordFailures(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	t.Run("Redis is down, then up again", func(t *testing.T) {
		t.Parallel()
		server := redistest.Real(t)
		r := newReceiverOn(t, server.URL())
		server.Kill()
		callbackURL := r.url(1)
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if status, _ := r.post(callbackURL, strings.NewReader(`{}`)); status != http.StatusServiceUnavailable {
					t.Errorf("status %d, want 503", status)
				}
			})
		}
		all.Wait()
		lines := strings.Count(r.log.String(), "\n")
		if !strings.Contains(r.log.String(), `"last_id":"monday.17","last_attempt":1`) || lines > 5 {
			t.Errorf("the log has %d lines, want up to 5 that name the snapshot:\n%s", lines, r.log)
		}
		if err := server.Restart(); err != nil {
			t.Fatal(err)
		}
		// A retry succeeds as soon as the connection pool has noticed that Redis is back.
		retry := time.NewTicker(50 * time.Millisecond)
		defer retry.Stop()
		deadline := time.After(10 * time.Second)
		for status := 0; status != 200; {
			select {
			case <-deadline:
				t.Fatalf("10 s after the restart of Redis the status is %d, want 200", status)
			case <-retry.C:
				status, _ = r.post(callbackURL, strings.NewReader(`{}`))
			}
		}
		r.nextRecord()
	})

	t.Run("Redis hangs: the sender gets 503 within 5 s", func(t *testing.T) {
		t.Parallel()
		server := redistest.Real(t)
		r := newReceiverOn(t, server.URL())
		if err := server.Freeze(); err != nil {
			t.Fatal(err)
		}
		defer server.Thaw()
		began := time.Now()
		if status, _ := r.post(r.url(1), strings.NewReader(`{}`)); status != http.StatusServiceUnavailable ||
			time.Since(began) > 5*time.Second {
			t.Errorf("got %d after %s, want 503 within 5 s", status, time.Since(began))
		}
	})

	t.Run("the sender disconnects: the callback is recorded", func(t *testing.T) {
		t.Parallel()
		entered, leave := make(chan struct{}), make(chan struct{})
		r := newReceiver(t, func(_ *http.Server, o *callback.Options) {
			record := o.Record
			o.Record = func(ctx context.Context, snapshot string, attempt int, taskID string, body []byte) error {
				close(entered)
				<-leave
				return record(ctx, snapshot, attempt, taskID, body)
			}
		})
		conn, err := net.Dial("tcp", strings.TrimPrefix(r.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}", strings.TrimPrefix(r.url(1), r.URL))
		<-entered
		conn.Close()
		<-(<-r.first).Done()
		close(leave)
		r.nextRecord()
	})
}
