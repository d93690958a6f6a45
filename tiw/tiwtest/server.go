// Package tiwtest simulates the snapshot API of Tencent Interactive Whiteboard:
// it verifies signatures and bodies, enforces the rate limit, counts requests
// and injects faults. README.md lists what it simulates and what it does not.
// It is not Tencent.
package tiwtest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unique"
)

const maxBody = 10 << 20 // bytes, as documented for a signed POST

// Server is the simulator. It is an http.Handler. Close releases its resources.
type Server struct {
	// URL is the base URL of the server, empty before Listen.
	URL string

	opt       Options
	mux       *http.ServeMux
	http      *http.Server
	client    *http.Client // sends the callbacks
	ctx       context.Context
	cancel    context.CancelFunc
	wg        sync.WaitGroup
	wake      chan struct{} // the next event has changed, or the outbox has a callback
	drawSlots chan struct{} // semaphore of the images being drawn
	anchor    time.Time

	mu            sync.Mutex // guards the fields below and orders arrivals
	last          int64      // Unix ns, the last reading of the clock
	arrivals      uint64
	delayRand     *rand.Rand // draws the network delays
	buckets       map[bucketKey]*bucket
	faults        Faults
	faultsAt      int64 // Unix ns
	faultCounts   map[string]int64
	codes         map[string]int64
	log           queue[loggedRequest]
	waiters       []waiter
	tasks         *store
	base          string // base URL of the last task's images
	outbox        queue[delivery]
	callbacks     CallbackState
	imagesServed  int64
	imageRequests int        // image requests since the faults were set
	imageRand     *rand.Rand // draws the image faults
}

type bucketKey struct{ action, secretID string }

// New returns a server. It panics if the options are not valid.
func New(o Options) *Server {
	if err := o.Validate(); err != nil {
		panic("tiwtest: " + err.Error())
	}
	o.setDefaults()
	s := &Server{
		opt:         o,
		mux:         http.NewServeMux(),
		wake:        make(chan struct{}, 1),
		drawSlots:   make(chan struct{}, 4),
		anchor:      o.Clock(),
		delayRand:   rand.New(rand.NewPCG(o.Seed, 0)),     // arrivals are numbered from 1
		imageRand:   rand.New(rand.NewPCG(o.Seed, 1<<63)), // never reached by arrivals
		buckets:     map[bucketKey]*bucket{},
		faults:      o.Faults,
		faultCounts: map[string]int64{},
		codes:       map[string]int64{},
		tasks:       newStore(o.MaxTasks, int64(o.TaskRetention)),
		client: &http.Client{
			Transport:     &http.Transport{MaxIdleConnsPerHost: o.CallbackSenders, IdleConnTimeout: 30 * time.Second},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	s.last = s.anchor.UnixNano()
	s.faultsAt = s.last
	s.ctx, s.cancel = context.WithCancel(context.Background())

	s.mux.HandleFunc("/{$}", s.serveAPI)
	s.mux.HandleFunc("GET /images/{room}/{task}/{file}", s.serveImage)
	s.mux.HandleFunc("/redirected", s.serveRedirected)
	s.mux.HandleFunc("GET /state", s.serveState)
	s.mux.HandleFunc("GET /state/tasks", s.serveTasks)
	s.mux.HandleFunc("GET /admin/faults", s.serveFaults)
	s.mux.HandleFunc("POST /admin/faults", s.serveSetFaults)
	s.mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })

	s.wg.Go(s.sendCallbacks)
	return s
}

// Start runs a server on a free loopback port until the test ends.
func Start(tb testing.TB, o Options) *Server {
	tb.Helper()
	s := New(o)
	tb.Cleanup(s.Close)
	if err := s.Listen("127.0.0.1:0"); err != nil {
		tb.Fatal(err)
	}
	return s
}

// Listen serves on addr (host:port) in the background until Close. It sets URL.
func (s *Server) Listen(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	s.URL = "http://" + l.Addr().String()
	s.http = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
	s.wg.Go(func() { s.http.Serve(l) })
	return nil
}

// Refuse closes all connections and refuses new ones until Listen is called with
// the same addr. The state is kept, tasks continue and callbacks are sent.
func (s *Server) Refuse() { s.http.Close() }

// Close closes all connections and drops pending callbacks. State remains usable.
func (s *Server) Close() {
	s.cancel()
	if s.http != nil {
		s.http.Close()
	}
	s.client.CloseIdleConnections()
	s.wg.Wait()
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Date", s.opt.Clock().UTC().Format(http.TimeFormat))
	s.mux.ServeHTTP(w, r)
}

// SetCredentials replaces the keys by secret id for new requests. The tokens are
// kept.
func (s *Server) SetCredentials(keys map[string]Secret) {
	keys = maps.Clone(keys)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opt.Credentials = keys
}

// now returns the time in Unix ns. It never decreases. The caller holds the lock.
func (s *Server) now() int64 {
	s.last = max(s.last, s.anchor.UnixNano()+int64(s.opt.Clock().Sub(s.anchor)))
	return s.last
}

// apiError is the Error of a response.
type apiError struct{ Code, Message string }

func errorf(code, format string, args ...any) *apiError {
	return &apiError{code, fmt.Sprintf(format, args...)}
}

// apiRequest is one request to the API.
type apiRequest struct {
	at         int64 // Unix ns of arrival
	rng        *rand.Rand
	requestID  string
	action     string
	auth       authorization
	wellFormed bool // auth is valid
	key        Secret
	known      bool // the secret id exists, key is set
	inWindow   int  // requests in its window, itself included
	limited    bool // beyond the quota
}

// reply is the response to a request.
type reply struct {
	response any // content of the field Response
	code     string
	fault    fault
	backend  bool // the request reached the backend
	task     *task
}

type failure struct {
	Error     *apiError
	RequestId string
}

func (s *Server) serveAPI(w http.ResponseWriter, r *http.Request) {
	if !s.pause(r.Context(), s.drawDelay()) {
		panic(http.ErrAbortHandler)
	}
	c := s.arrive(r)
	// The deadline is for the body only: with one for the whole connection,
	// Faults.Silent could not keep a request open.
	control := http.NewResponseController(w)
	control.SetReadDeadline(time.Now().Add(30 * time.Second))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	control.SetReadDeadline(time.Time{})
	var tooLarge *http.MaxBytesError
	if err != nil && !errors.As(err, &tooLarge) {
		panic(http.ErrAbortHandler) // the client has disconnected
	}
	doc, malformed := decode(body)
	var rep reply
	if rejected := s.gateway(r, c, body, tooLarge != nil); rejected != nil {
		rep = reply{response: failure{rejected, c.requestID}, code: rejected.Code}
	} else {
		if malformed == nil {
			malformed = check(doc, schemas[c.action], "")
		}
		rep = s.backend(r, c, doc, malformed)
	}
	s.record(c, doc, rep)
	if rep.task != nil && rep.task.earlyCallback {
		s.sendCallback(delivery{task: *rep.task})
	}
	s.respond(w, r, c, rep)
}

// drawDelay draws the network delay of the next request.
func (s *Server) drawDelay() time.Duration {
	if s.opt.Delay == 0 {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return lognormal(s.delayRand, s.opt.Delay, s.opt.DelaySigma)
}

// arrive takes the arrival time of a request under the lock, before any check, and
// counts the request against the quota of its secret id. Requests with unknown
// secret ids do not count.
func (s *Server) arrive(r *http.Request) *apiRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &apiRequest{at: s.now(), action: r.Header.Get("X-TC-Action")}
	s.arrivals++
	c.rng = rand.New(rand.NewPCG(s.opt.Seed, s.arrivals))
	c.requestID = newUUID(c.rng).String()
	c.auth, c.wellFormed = parseAuthorization(r.Header.Get("Authorization"))
	c.key, c.known = s.opt.Credentials[c.auth.secretID]
	if !c.known || schemas[c.action] == nil {
		return c
	}
	key := bucketKey{c.action, c.auth.secretID}
	b := s.buckets[key]
	if b == nil {
		b = &bucket{last: s.faultsAt}
		s.buckets[key] = b
	}
	foreign := 0
	if c.action == ActionCreate {
		foreign = s.faults.ForeignLoad
	}
	n, ok := b.arrive(quota{s.opt.Limit, s.opt.Window, s.opt.RejectedFree}, c.at, foreign)
	c.inWindow, c.limited = n, !ok
	return c
}

// gateway runs the checks that precede the backend. Their order is undocumented.
func (s *Server) gateway(r *http.Request, c *apiRequest, body []byte, tooLarge bool) *apiError {
	if r.Method != http.MethodPost || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		return errorf("UnsupportedProtocol", "The protocol or method is not supported; use POST with application/json.")
	}
	if tooLarge {
		return errorf("RequestSizeLimitExceeded", "The request body is larger than %d bytes.", maxBody)
	}
	if err := s.authenticate(r, c, body, s.opt.Clock()); err != nil {
		return err
	}
	for _, name := range []string{"X-TC-Action", "X-TC-Version", "X-TC-Region"} {
		if r.Header.Get(name) == "" {
			return errorf("MissingParameter", "The request is missing the required header %s.", name)
		}
	}
	if schemas[c.action] == nil {
		return errorf("InvalidAction", "The action `%.80s` is not simulated or does not exist.", c.action)
	}
	if r.Header.Get("X-TC-Version") != apiVersion {
		return errorf("NoSuchVersion", "The version is not %s.", apiVersion)
	}
	if region := r.Header.Get("X-TC-Region"); len(s.opt.Regions) > 0 && !slices.Contains(s.opt.Regions, region) {
		return errorf("UnsupportedRegion", "The region `%.80s` is not supported.", region)
	}
	if c.limited {
		// Chinese is Tencent's default language.
		message := "您当前每秒请求 `%d` 次，超过了每秒频率上限 `%d`，请稍后重试。"
		if r.Header.Get("X-TC-Language") == "en-US" {
			message = "Your current request times equals to `%d` in a second, which exceeds the frequency limit " +
				"`%d` for a second. Please reduce the frequency of calls." // Tencent's words
		}
		return errorf("RequestLimitExceeded", message, c.inWindow, s.opt.Limit)
	}
	return nil
}

// backend creates or describes a task, or injects a fault.
func (s *Server) backend(r *http.Request, c *apiRequest, doc document, malformed *apiError) reply {
	fail := func(err *apiError) reply {
		return reply{response: failure{err, c.requestID}, code: err.Code, backend: true}
	}
	if malformed != nil {
		return fail(malformed)
	}
	app := doc.uint("SdkAppId")
	if len(s.opt.SdkAppIds) > 0 && !slices.Contains(s.opt.SdkAppIds, app) {
		return fail(errorf("UnauthorizedOperation.SdkAppId", "The SdkAppId does not belong to the account."))
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	since := c.at - s.faultsAt
	if s.faults.Arrears.contains(since) {
		s.faultCounts["arrears"]++
		return fail(errorf("ResourceUnavailable.ServiceExpired", "The service is in arrears or has expired."))
	}
	if code := s.faults.codeFor(app, doc.uint("RoomId")); code != "" {
		s.faultCounts["byName"]++
		return fail(errorf(code, "An injected fault."))
	}
	injected := s.faults.pick(c.action, since, c.rng.Float64())
	if injected != "" {
		s.faultCounts[string(injected)]++
	}
	rep := reply{code: OK, backend: true}
	if injected == "" || injected.creates() {
		switch c.action {
		case ActionCreate:
			rep.task = s.create(c, doc, r)
			rep.response = created{rep.task.id.String(), c.requestID}
		case ActionDescribe:
			t := s.tasks.find(doc.text("TaskID"), c.at)
			switch {
			case t != nil && t.room.app == app && t.region == unique.Make(r.Header.Get("X-TC-Region")):
				rep.response = s.faults.shape(t).response(t, c.at, c.requestID)
			case s.faults.UnknownTask == unknownTaskNulls:
				rep.response = nullableDescribed{RequestId: c.requestID}
			default:
				rep = fail(errorf(cmp.Or(s.faults.UnknownTask, "InvalidParameter.TaskNotFound"), "There is no such task."))
			}
		}
	}
	switch injected {
	case faultInternalError, faultInternalErrorCreated:
		rep.code = "InternalError"
		rep.response = failure{errorf(rep.code, "An internal error has occurred. Retry your request."), c.requestID}
	case faultCode:
		rep.code = s.faults.CodeName
		rep.response = failure{errorf(rep.code, "An injected fault."), c.requestID}
	}
	rep.fault = injected
	return rep
}

// respond sends the reply after its latency, altered by its fault.
func (s *Server) respond(w http.ResponseWriter, r *http.Request, c *apiRequest, rep reply) {
	latency := s.opt.RejectLatency
	if rep.backend {
		latency = lognormal(c.rng, s.opt.Latency, s.opt.LatencySigma)
	}
	if rep.fault == faultSilent {
		latency = s.opt.HoldLimit
	}
	if !s.pause(r.Context(), latency) || rep.fault == faultCut || rep.fault == faultSilent {
		panic(http.ErrAbortHandler)
	}
	body, err := json.Marshal(struct{ Response any }{rep.response})
	if err != nil {
		panic(err) // the types above can all be encoded
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	switch rep.fault {
	case faultHTML:
		h.Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusBadGateway)
		io.WriteString(w, "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad "+
			"Gateway</h1></body></html>\n")
	case faultRedirect:
		h.Set("Location", "http://"+r.Host+"/redirected")
		w.WriteHeader(http.StatusFound)
	case faultCutJSON:
		w.Write(body[:len(body)/2])
	case faultEmpty:
		io.WriteString(w, "{}")
	case faultSlowBody:
		control := http.NewResponseController(w)
		for i := range body {
			w.Write(body[i : i+1])
			if control.Flush() != nil || !s.pause(r.Context(), s.opt.SlowByte) {
				panic(http.ErrAbortHandler)
			}
		}
	default:
		w.Write(body)
	}
}

// pause waits for d. It returns false if the client disconnects or the server is
// closed.
func (s *Server) pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-s.ctx.Done():
	}
	return false
}
