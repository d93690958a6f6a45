// Package webhooktest provides a webhook receiver for tests.
package webhooktest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"tiwsnap/internal/guard"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/redistest"
	"tiwsnap/webhook"
)

// Receiver is an HTTP server that receives webhooks.
type Receiver struct {
	*httptest.Server
	Got    chan Delivery
	Answer chan int // statuses of the next responses; 200 if it is empty
}

// Delivery is a request that a receiver got.
type Delivery struct {
	ID, Path string
	Raw      string
	Body     struct {
		Type      string
		Timestamp time.Time
		Data      json.RawMessage
	}
}

// NewReceiver starts a receiver for one test.
func NewReceiver(t *testing.T) Receiver {
	r := Receiver{Got: make(chan Delivery, 1000), Answer: make(chan int, 1000)}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		d := Delivery{ID: req.Header.Get("webhook-id"), Path: req.URL.RequestURI()}
		b, _ := io.ReadAll(req.Body)
		d.Raw = string(b)
		if strings.HasPrefix(d.Raw, `{"type":`) || !json.Valid(b) { // else it is a callback
			if err := json.Unmarshal(b, &d.Body); err != nil {
				t.Errorf("the body is not JSON: %v", err)
			}
		}
		select {
		case status := <-r.Answer:
			w.WriteHeader(status)
		default:
		}
		select {
		case r.Got <- d:
		default: // else the server could not be closed
			t.Errorf("the test has not read the last %d webhooks", cap(r.Got))
		}
	}))
	t.Cleanup(r.Close)
	return r
}

// Next waits for the next delivery.
func (r Receiver) Next(t *testing.T) Delivery {
	t.Helper()
	select {
	case d := <-r.Got:
		return d
	case <-time.After(30 * time.Second):
		t.Fatal("no webhook arrived within 30 s")
		panic("unreachable")
	}
}

// WaitForTasks waits until list returns n webhooks. list selects their state in asynq.
func WaitForTasks(
	t testing.TB, n int, list func(string, ...asynq.ListOption) ([]*asynq.TaskInfo, error),
) (tasks []*asynq.TaskInfo) {
	t.Helper()
	redistest.Until(t, fmt.Sprint(n, " webhooks in the queue"), func() bool {
		var err error
		tasks, err = list(keys.Default.QueueWebhooks(), asynq.PageSize(10_000))
		return err == nil && len(tasks) == n
	})
	return tasks
}

// Subscribe returns a subscription to all events except copies of images. The first receiver is that of the settings.
func Subscribe(t *testing.T, receivers ...Receiver) webhook.Subscription {
	t.Helper()
	return SubscribeWithin(t, 0, receivers...)
}

// SubscribeWithin is Subscribe with a timeout for each request; 0 is the default.
func SubscribeWithin(t *testing.T, timeout time.Duration, receivers ...Receiver) webhook.Subscription {
	t.Helper()
	secret, err := webhook.ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	o := webhook.Options{Secrets: []webhook.Secret{secret}, HTTP: true, Timeout: timeout}
	for _, r := range receivers {
		o.Hosts = append(o.Hosts, r.Listener.Addr().String())
	}
	if o.Private, err = guard.ParsePrivate([]string{"127.0.0.1"}); err != nil {
		t.Fatal(err)
	}
	sender, err := webhook.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sender.Close)
	return webhook.Subscription{Sender: sender, URL: receivers[0].URL, Snapshots: true, Batches: true, Schedules: true}
}
