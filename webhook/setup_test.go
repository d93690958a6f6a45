package webhook_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"tiwsnap/internal/guard"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
	"tiwsnap/webhook"
)

func TestMain(m *testing.M) {
	// net/http reads these once. No proxy listens at that address, so a request through a proxy fails.
	os.Setenv("HTTP_PROXY", "http://127.0.0.1:9")
	os.Setenv("http_proxy", "http://127.0.0.1:9")
	goleak.VerifyTestMain(redistest.Both(m))
}

const (
	secretA = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	secretB = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
)

func parseSecret(t *testing.T, text string) webhook.Secret {
	t.Helper()
	s, err := webhook.ParseSecret(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func parsePrivate(t *testing.T, entries ...string) guard.Private {
	t.Helper()
	p, err := guard.ParsePrivate(entries)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// newSender returns a Sender that may send to the hosts of urls.
func newSender(t *testing.T, o webhook.Options, urls ...string) *webhook.Sender {
	t.Helper()
	for _, s := range urls {
		u, err := webhook.ParseURL(s, true)
		if err != nil {
			t.Fatal(err)
		}
		o.Hosts = append(o.Hosts, webhook.Host(u))
	}
	if o.Secrets == nil {
		o.Secrets = []webhook.Secret{parseSecret(t, secretA)}
	}
	s, err := webhook.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// loopback returns the options to send to the servers of these tests.
func loopback(t *testing.T) webhook.Options {
	return webhook.Options{HTTP: true, Private: parsePrivate(t, "127.0.0.0/8")}
}

func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

var noBody = []byte("{}")

// sendError returns the error of a failed Send.
func sendError(t *testing.T, err error) *webhook.Error {
	t.Helper()
	var e *webhook.Error
	if !errors.As(err, &e) {
		t.Fatalf("Send(): error = %v, want *webhook.Error", err)
	}
	return e
}

// silentServer starts a server that reads a request, writes answer and then sends nothing. It returns a sender with a
// timeout of 300 ms and the address.
func silentServer(t *testing.T, answer string) (*webhook.Sender, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		buf := make([]byte, 4096)
		conn.Read(buf)
		io.WriteString(conn, answer)
		io.Copy(io.Discard, conn) // until the sender disconnects
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	o := loopback(t)
	o.Timeout = 300 * time.Millisecond
	address := "http://" + l.Addr().String()
	s := newSender(t, o, address)
	t.Cleanup(s.Close) // runs before the wait above
	return s, address
}

// site is a Redis with a ledger.
type site struct {
	*testing.T
	rdb       *redis.Client
	ledger    *ledger.Ledger
	inspector *asynq.Inspector
}

func newSite(t *testing.T) site {
	c := redistest.Client(t)
	return site{t, c, ledger.New(c, ledger.Options{}), asynq.NewInspectorFromRedisClient(c)}
}

// dispatch runs a dispatcher until the test ends.
func (w site) dispatch(sub webhook.Subscription) {
	w.Helper()
	d := webhook.NewDispatcher(webhook.DispatcherOptions{
		Redis: w.rdb, Ledger: w.ledger, Subscription: sub, Log: slog.New(slog.NewTextHandler(w.Output(), nil)),
	})
	ctx, cancel := context.WithCancel(context.Background())
	d.Subscribe(ctx)
	server := d.Server(ctx)
	if err := server.Start(d.Handler()); err != nil {
		w.Fatal(err)
	}
	var run sync.WaitGroup
	run.Go(func() { d.Run(ctx) })
	w.Cleanup(func() {
		cancel()
		run.Wait()
		server.Shutdown()
	})
}

// eventually waits until done returns true, see redistest.Until.
func (w site) eventually(what string, done func() bool) {
	w.Helper()
	redistest.Until(w, what, done)
}

// record writes the record of an ended batch.
func (w site) record(id string, ended time.Time) {
	w.Helper()
	if err := w.rdb.HSet(w.Context(), keys.Default.Batch(id), "total", 1, "succeeded", 1, "created_at", 1, "ended_at",
		ended.UnixMilli()).Err(); err != nil {
		w.Fatal(err)
	}
}

// endedBatches writes the records and notices of n ended batches. Their receiver is url;
// "" is the receiver of the settings.
func (w site) endedBatches(name string, n int, url string) {
	w.Helper()
	at := time.Now()
	_, err := w.rdb.Pipelined(w.Context(), func(p redis.Pipeliner) error {
		for i := range n {
			id := fmt.Sprintf("%s-%d", name, i)
			p.HSet(w.Context(), keys.Default.Batch(id), "total", 1, "succeeded", 1, "created_at", 1, "ended_at", at.UnixMilli())
			if url != "" {
				p.HSet(w.Context(), keys.Default.Batch(id), "webhook", url)
			}
			member := fmt.Sprintf("batch:%d:%s", at.UnixMilli(), id)
			p.ZAdd(w.Context(), keys.Default.Outbox(), redis.Z{Score: 1, Member: member})
		}
		return nil
	})
	if err != nil {
		w.Fatal(err)
	}
}

// put enqueues a webhook, as the dispatcher does.
func (w site) put(p tasks.NotifyPayload) {
	w.Helper()
	task, err := p.Task(tasks.DefaultNamespace)
	if err != nil {
		w.Fatal(err)
	}
	if _, err := asynq.NewClientFromRedisClient(w.rdb).Enqueue(task); err != nil {
		w.Fatal(err)
	}
}
