package callback_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"go.uber.org/goleak"

	"tiwsnap/internal/rdb"
	"tiwsnap/internal/redistest"
	"tiwsnap/internal/syncbuf"
	"tiwsnap/tiw"
	"tiwsnap/web/callback"
)

func TestMain(m *testing.M) {
	logging.Disable() // go-redis would log every failed dial
	goleak.VerifyTestMain(redistest.Both(m))
}

const (
	key    = "CANARY-key-0123456789-0123456789-0123456789"
	oldKey = "CANARY-old-0123456789-0123456789-0123456789"
)

// recorded has the arguments of a Record call.
type recorded struct {
	snapshot string
	attempt  int
	taskID   string
	body     string
}

// receiver is a callback server that records in Redis.
type receiver struct {
	*testing.T
	URL    string
	keys   tiw.CallbackKeys
	redis  string // its URL
	client *http.Client
	server *http.Server
	first  chan context.Context // context of the first request
	got    chan recorded        // callbacks as they are recorded
	log    *syncbuf.Buffer

	mu   sync.Mutex
	urls []string // all URLs that url has returned
}

// newReceiver starts a receiver. At the end of the test it checks that no key and no part of a URL was logged.
func newReceiver(t *testing.T, change ...func(*http.Server, *callback.Options)) *receiver {
	t.Helper()
	return newReceiverOn(t, redistest.URL(t), change...)
}

func newReceiverOn(t *testing.T, redisURL string, change ...func(*http.Server, *callback.Options)) *receiver {
	t.Helper()
	r := &receiver{
		T: t, redis: redisURL, log: new(syncbuf.Buffer),
		first: make(chan context.Context, 1), got: make(chan recorded, 1000),
		client: &http.Client{
			Transport:     &http.Transport{MaxIdleConnsPerHost: 32},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	client, closeRedis, err := rdb.Open(r.redis)
	if err != nil {
		t.Fatal(err)
	}
	o := callback.Options{
		Keys: tiw.NewCallbackKeys(key, oldKey),
		Log:  slog.New(slog.NewJSONHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Record: func(ctx context.Context, snapshot string, attempt int, taskID string, body []byte) error {
			pipe := client.TxPipeline()
			pipe.Incr(ctx, fmt.Sprintf("%s/%d/times", snapshot, attempt))
			changed := pipe.SetNX(ctx, fmt.Sprintf("%s/%d", snapshot, attempt), taskID, 0)
			if _, err := pipe.Exec(ctx); err != nil {
				return err
			}
			if changed.Val() {
				client.Incr(ctx, "changes")
			}
			r.got <- recorded{snapshot, attempt, taskID, string(body)}
			return nil
		},
	}
	r.keys = o.Keys
	r.server = callback.NewServer("127.0.0.1:0", nil)
	for _, f := range change {
		f(r.server, &o)
	}
	handler := callback.NewHandler(o)
	r.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		select {
		case r.first <- req.Context():
		default:
		}
		handler.ServeHTTP(w, req)
	})
	r.server.ErrorLog = slog.NewLogLogger(o.Log.Handler(), slog.LevelError)
	l, err := net.Listen("tcp", r.server.Addr)
	if err != nil {
		t.Fatal(err)
	}
	r.URL = "http://" + l.Addr().String()
	done := make(chan error)
	go func() { done <- r.server.Serve(l) }()
	t.Cleanup(func() {
		r.client.CloseIdleConnections()
		if err := r.server.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		closeRedis()
		log := r.log.String()
		for _, secret := range append(r.urls, key, oldKey) {
			for field := range strings.SplitSeq(secret, "/") {
				if len(field) >= 8 && field != "monday.17" && !strings.Contains(r.URL, field) && strings.Contains(log, field) {
					t.Errorf("the log contains %q of the URL or key %s:\n%s", field, secret, log)
				}
			}
		}
	})
	return r
}

// url returns the callback URL of an attempt at the snapshot monday.17.
func (r *receiver) url(attempt int) string {
	callbackURL := r.keys.URL(r.URL, "monday.17", attempt, time.Now().Add(time.Hour))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.urls = append(r.urls, callbackURL)
	return callbackURL
}

// post sends a callback and returns the status and body of the response.
func (r *receiver) post(url string, body io.Reader) (status int, response string) {
	r.Helper()
	status, _, response = r.do(http.MethodPost, url, body)
	return status, response
}

// do sends a request. It is safe for concurrent use.
func (r *receiver) do(method, url string, body io.Reader) (status int, header http.Header, response string) {
	r.Helper()
	req, err := http.NewRequestWithContext(r.Context(), method, url, body)
	if err != nil {
		r.Error(err)
		return
	}
	resp, err := r.client.Do(req)
	if err != nil {
		r.Error(err)
		return
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.Error(err)
	}
	return resp.StatusCode, resp.Header, string(b)
}

// nextRecord waits for the next recorded callback.
func (r *receiver) nextRecord() recorded {
	r.Helper()
	select {
	case c := <-r.got:
		return c
	case <-time.After(10 * time.Second):
		r.Fatal("no callback was recorded within 10 s")
		return recorded{}
	}
}

// count returns a counter in Redis.
func (r *receiver) count(name string) int {
	r.Helper()
	client, closeRedis, err := rdb.Open(r.redis)
	if err != nil {
		r.Fatal(err)
	}
	defer closeRedis()
	n, err := client.Get(r.Context(), name).Int()
	if err != nil && !errors.Is(err, redis.Nil) {
		r.Fatal(err)
	}
	return n
}

// sendRaw sends bytes and returns the start of the response.
func (r *receiver) sendRaw(request string) string {
	r.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.URL, "http://"))
	if err != nil {
		r.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		r.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		r.Fatal(err)
	}
	response := make([]byte, 64)
	n, err := conn.Read(response)
	if err != nil {
		r.Fatal(err)
	}
	return string(response[:n])
}

const ok = `{"error_code":0}`
