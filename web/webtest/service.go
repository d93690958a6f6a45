package webtest

import (
	"bufio"
	"context"
	"encoding/json"
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

	"tiwsnap/enqueue"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/password"
	"tiwsnap/internal/redistest"
	"tiwsnap/internal/syncbuf"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
	"tiwsnap/web"
	"tiwsnap/web/api"
)

// Service is a server and its client, with a token for each role.
type Service struct {
	*testing.T
	URL       string
	Redis     redis.UniversalClient
	Log       *syncbuf.Buffer
	Tokens    map[web.Role]string
	Auth      *web.Auth
	TokenList []web.Token
	Client    *http.Client
}

// NewService starts a server with its own Redis until the test ends.
func NewService(t *testing.T, change ...func(*api.Options)) *Service {
	t.Helper()
	return Serve(t, redistest.Client(t), change...)
}

// Serve starts a server on a Redis until the test ends.
func Serve(t *testing.T, rdb redis.UniversalClient, change ...func(*api.Options)) *Service {
	t.Helper()
	return ServeBy(t, func(*http.Server) {}, rdb, change...)
}

// ServeBy is Serve with changes to the HTTP server.
func ServeBy(t *testing.T, differ func(*http.Server), rdb redis.UniversalClient,
	change ...func(*api.Options)) *Service {
	t.Helper()
	s := &Service{T: t, Redis: rdb, Log: new(syncbuf.Buffer), Tokens: map[web.Role]string{}, Client: &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: 30 * time.Second,
	}}
	log := slog.New(slog.NewJSONHandler(s.Log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var tokens []web.Token
	for _, role := range []web.Role{web.RoleView, web.RoleProduce, web.RoleOperate} {
		s.Tokens[role] = password.NewToken()
		tokens = append(tokens, web.Token{
			Name: "the-" + string(role), Hash: password.HashToken(s.Tokens[role]), Roles: []web.Role{role},
		})
	}
	auth, err := web.NewAuth(web.AuthOptions{Tokens: tokens})
	if err != nil {
		t.Fatal(err)
	}
	s.Auth, s.TokenList = auth, tokens
	o := api.Options{Redis: rdb, Ledger: ledger.New(rdb, ledger.Options{}), Log: log}
	for _, f := range change {
		f(&o)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.URL = "http://" + l.Addr().String()
	h, stopAPI := Handler(auth, o)
	server := web.NewServer(h, log)
	server.RegisterOnShutdown(stopAPI)
	differ(server)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- web.Serve(ctx, server, l, 5*time.Second) }()
	t.Cleanup(func() {
		s.Client.CloseIdleConnections()
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the server ended: %v", err)
		}
		for role, token := range s.Tokens {
			if strings.Contains(s.Log.String(), token) {
				t.Errorf("the log contains the token of %s", role)
			}
		}
	})
	return s
}

// Reply is a response with its body.
type Reply struct {
	*testing.T
	Status int
	Header http.Header
	Body   string
}

// Send sends a request; header is name, value, …. Its token has the role operate unless a header replaces it.
func (s *Service) Send(method, path, body string, header ...string) Reply {
	s.Helper()
	return s.Do(s.Request(method, path, body, header...))
}

// Request returns a request like that of Send.
func (s *Service) Request(method, path, body string, header ...string) *http.Request {
	s.Helper()
	r, err := http.NewRequestWithContext(s.Context(), method, s.URL+path, strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.Tokens[web.RoleOperate])
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

// Do sends a request.
func (s *Service) Do(r *http.Request) Reply {
	s.Helper()
	resp, err := s.Client.Do(r)
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.Fatal(err)
	}
	return Reply{s.T, resp.StatusCode, resp.Header, string(b)}
}

// Want checks the status and decodes the body.
func (r Reply) Want(status int, into any) Reply {
	r.Helper()
	if r.Status != status {
		r.Fatalf("status %d, want %d: %s", r.Status, status, r.Body)
	}
	if into != nil {
		if err := json.Unmarshal([]byte(r.Body), into); err != nil {
			r.Fatalf("%v: %s", err, r.Body)
		}
	}
	return r
}

// Problem checks that the response is a problem with that status and code, and returns it.
func (r Reply) Problem(status int, code string) web.Problem {
	r.Helper()
	var p web.Problem
	d := json.NewDecoder(strings.NewReader(r.Body))
	d.DisallowUnknownFields()
	err := d.Decode(&p)
	if r.Status != status || err != nil || p.Status != status || p.Code != code || p.Title != http.StatusText(status) ||
		r.Header.Get("Content-Type") != "application/problem+json" {
		r.Errorf("status %d, want %d %s: %v %s (%v)", r.Status, status, code, r.Header, r.Body, err)
	}
	if retry := status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests ||
		code == "key-in-flight"; retry != (r.Header.Get("Retry-After") != "") {
		r.Errorf("%d %s has Retry-After %q", status, code, r.Header.Get("Retry-After"))
	}
	return p
}

// Batches returns the number of batches.
func (s *Service) Batches() int {
	s.Helper()
	all, err := ledger.New(s.Redis, ledger.Options{}).Batches(s.Context(), 0)
	if err != nil {
		s.Fatal(err)
	}
	return len(all)
}

// Until waits until done returns true.
func (s *Service) Until(done func() bool) {
	s.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			s.Fatal("condition not met within 20 s")
		}
	}
}

// Add enqueues a batch of n rooms.
func (s *Service) Add(id string, n int) {
	s.Helper()
	_, err := enqueue.New(s.Redis, keys.Default).Batch(s.Context(), func(yield func(tasks.Room, error) bool) {
		for i := range n {
			if !yield(tasks.Room{RoomId: uint64(i + 1), Label: map[string]string{"Sum": "=1+1"}}, nil) {
				return
			}
		}
	}, enqueue.BatchOptions{ID: id, Defaults: tasks.Room{SdkAppId: 7}})
	if err != nil {
		s.Fatal(err)
	}
}

// Outcome records one attempt at a snapshot with this outcome.
func (s *Service) Outcome(id string, o ledger.Outcome) {
	s.Helper()
	l := ledger.New(s.Redis, ledger.Options{})
	batch, row, _ := tasks.SplitRowID(id)
	room := tasks.Room{SdkAppId: 7, RoomId: uint64(max(row, 1))}
	in, err := l.Begin(s.Context(), tasks.SnapshotPayload{ID: id, Batch: batch, Room: room}, id, "")
	if err != nil || in.Verdict != ledger.Send {
		s.Fatal(in, err)
	}
	if err := l.Outcome(s.Context(), id, in.Attempt, o); err != nil {
		s.Fatal(err)
	}
}

// Finish makes a snapshot of a batch succeed with that many images.
func (s *Service) Finish(id string, images int) {
	s.Helper()
	s.Outcome(id, ledger.Outcome{State: ledger.Accepted, TaskID: "t-" + id})
	r := ledger.Result{State: ledger.Succeeded}
	for n := range images {
		r.Images = append(r.Images, fmt.Sprintf("https://b.example/%s/%d.png", id, n+1))
	}
	if err := ledger.New(s.Redis, ledger.Options{}).Settle(s.Context(), id, "t-"+id, r); err != nil {
		s.Fatal(err)
	}
}

// Broken is the outcome of a failed attempt. Its message looks like a formula.
var Broken = ledger.Outcome{State: ledger.Failed, Costs: true, Code: "FailedOperation.Transcode", Message: "=broken",
	RequestID: "r-1"}

// List is a class list of two rooms.
const List = "SdkAppId,RoomId\n7,1\n7,2\n"

// Event is a server-sent event.
type Event struct{ Name, Id, Data string }

// Follow opens a stream and returns a function that reads its next event; ok is false at its end.
func (s *Service) Follow(path string, header ...string) (next func() (e Event, ok bool)) {
	s.Helper()
	resp, err := s.Client.Do(s.Request("GET", path, "", header...))
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		s.Fatalf("GET %s: status %d, header %v, want an event stream", path, resp.StatusCode, resp.Header)
	}
	lines := bufio.NewScanner(resp.Body)
	return func() (e Event, ok bool) {
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch {
			case name == "event":
				e.Name = value
			case name == "id":
				e.Id = value
			case name == "data":
				e.Data = value
			case name == "" && e.Name != "":
				return e, true
			}
		}
		return Event{}, false
	}
}

// Conns tracks the open connections of a server.
type Conns struct {
	mu   sync.Mutex
	Open map[net.Conn]bool
}

// State is a ConnState hook of an http.Server.
func (c *Conns) State(conn net.Conn, s http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s == http.StateClosed || s == http.StateHijacked {
		delete(c.Open, conn)
	} else {
		c.Open[conn] = true
	}
}

// Count returns the number of open connections.
func (c *Conns) Count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.Open)
}
