package web_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/web"
)

// conns counts the connections of a server.
type conns struct {
	mu   sync.Mutex
	open map[net.Conn]bool
}

func (c *conns) state(conn net.Conn, s http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s == http.StateClosed || s == http.StateHijacked {
		delete(c.open, conn)
	} else {
		c.open[conn] = true
	}
}

func (c *conns) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}

// Clients that are slow, or gone without a word, do not keep others from being
// served, and leave nothing behind.
func TestSlowClients(t *testing.T) {
	needs.Time(t)
	open := conns{open: map[net.Conn]bool{}}
	s := serveBy(t, func(server *http.Server) {
		server.ReadHeaderTimeout, server.ReadTimeout = time.Second, 2*time.Second
		server.ConnState = open.state
	}, redistest.RealClient(t), func(o *web.APIOptions) { o.SetUploadPace(2 * time.Second) })
	s.add("b", 1)
	s.client.CloseIdleConnections()
	s.until(func() bool { return open.count() == 0 })
	before := runtime.NumGoroutine()

	var clients sync.WaitGroup
	dial := func() *net.TCPConn {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err != nil {
			t.Error(err)
			return nil
		}
		return conn.(*net.TCPConn)
	}
	request := func(method, path string, more ...string) string {
		return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n%s", method, path,
			s.tokens[web.RoleProduce], strings.Join(more, ""))
	}
	// trickle sends a beginning, and then a byte now and then until the server
	// has had enough.
	trickle := func(begin string) {
		clients.Go(func() {
			conn := dial()
			if conn == nil {
				return
			}
			defer conn.Close()
			go io.Copy(io.Discard, conn)
			tick := time.NewTicker(100 * time.Millisecond)
			defer tick.Stop()
			_, err := io.WriteString(conn, begin)
			for err == nil {
				<-tick.C
				_, err = io.WriteString(conn, "x")
			}
		})
	}
	const many = 45 // of eight kinds: one address has 512 connections
	for range many {
		trickle(request("GET", "/v1/batches/b", "X-Slow: "))
		trickle(request("POST", "/v1/snapshots", "Content-Type: application/json\r\nContent-Length: 10000\r\n\r\n",
			`{"Key":"`))
		trickle(request("POST", "/v1/batches?name=slow", "Content-Type: text/csv\r\nContent-Length: 1000000\r\n\r\n",
			"SdkAppId,RoomId,Label.A\n7,1,"))
		// These are answered before their body has come.
		trickle(request("POST", "/v1/batches?webhook=https://a.example",
			"Content-Type: text/csv\r\nContent-Length: 200000\r\n\r\n"))
		trickle(request("POST", "/v1/batches?webhook=https://a.example",
			"Content-Type: text/csv\r\nContent-Length: 2000000\r\n\r\n"))
		trickle(request("GET", "/v1/batches/b/events", "Content-Length: 200000\r\n\r\n"))
		clients.Go(func() { // says nothing at all, until the server hangs up
			if conn := dial(); conn != nil {
				io.Copy(io.Discard, conn)
				conn.Close()
			}
		})
		clients.Go(func() { // asks, and is gone
			if conn := dial(); conn != nil {
				io.WriteString(conn, request("GET", "/v1/batches/b", "\r\n"))
				conn.SetLinger(0)
				conn.Close()
			}
		})
	}
	// They follow a batch and read nothing of it.
	var deaf []*net.TCPConn
	for range 2 * web.MaxOwnStreams {
		conn := dial()
		if conn == nil {
			t.FailNow()
		}
		io.WriteString(conn, request("GET", "/v1/batches/b/events", "\r\n"))
		deaf = append(deaf, conn)
	}

	var good sync.WaitGroup
	for n := range 4 {
		good.Go(func() {
			for i := range 10 {
				s.send("GET", "/v1/batches/b", "").want(200, nil)
				path := fmt.Sprintf("/v1/batches?name=good-%d-%d", n, i)
				s.send("POST", path, "SdkAppId,RoomId\n7,1\n", "Content-Type", "text/csv").want(202, nil)
			}
		})
	}
	if e, ok := s.follow("/v1/batches/b/events")(); !ok || e.name != "batch" {
		t.Errorf("a stream: %+v", e)
	}
	good.Wait()
	clients.Wait() // the server has ended each of them
	for _, conn := range deaf {
		conn.SetLinger(0)
		conn.Close()
	}
	s.until(func() bool {
		s.client.CloseIdleConnections()
		return open.count() <= 1 // the stream above
	})
	s.until(func() bool { return runtime.NumGoroutine() <= before+10 }) // its, and a pool's
}

// Who uploads slowly keeps nobody else from it.
func TestUploadsOfOneTokenAreBounded(t *testing.T) {
	s := newService(t)
	s.client.Transport.(*http.Transport).ExpectContinueTimeout = 20 * time.Second
	var slow []*io.PipeWriter
	var done sync.WaitGroup
	for n := range web.MaxOwnUploads {
		list, w := io.Pipe()
		// The server asks for the list when it has begun with it.
		r := s.request("POST", fmt.Sprintf("/v1/batches?name=slow-%d", n), "", "Content-Type", "text/csv", "Expect",
			"100-continue")
		r.Body, r.ContentLength = list, -1
		done.Go(func() {
			var got web.Enqueued
			s.do(r).want(202, &got)
		})
		io.WriteString(w, "SdkAppId,RoomId\n")
		slow = append(slow, w)
	}
	one := func(token web.Role) reply {
		return s.send("POST", "/v1/batches?name=one", "SdkAppId,RoomId\n7,1\n", "Content-Type", "text/csv",
			"Authorization", "Bearer "+s.tokens[token])
	}
	one(web.RoleOperate).problem(503, "busy")
	if r := one(web.RoleProduce); r.status/100 != 2 {
		t.Errorf("another token: %d %s", r.status, r.body)
	}
	for _, w := range slow {
		io.WriteString(w, "7,1\n")
		w.Close()
	}
	done.Wait()
	if r := one(web.RoleOperate); r.status/100 != 2 {
		t.Errorf("afterwards: %d %s", r.status, r.body)
	}
}

// Who opens connections without end has half of them, and others are served.
func TestConnectionsOfOneAddressAreBounded(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has 127.0.0.2 without being told")
	}
	open := conns{open: map[net.Conn]bool{}}
	s := serveBy(t, func(server *http.Server) {
		server.ReadHeaderTimeout = time.Minute
		server.ConnState = open.state
	}, redistest.Client(t))
	addr := strings.TrimPrefix(s.url, "http://")
	other := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	var all []net.Conn
	for range web.MaxOwnConns {
		conn, err := other.DialContext(t.Context(), "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, conn)
	}
	s.until(func() bool { return open.count() == web.MaxOwnConns })
	one, err := other.DialContext(t.Context(), "tcp", addr)
	if err == nil {
		_, err = one.Read(make([]byte, 1)) // until it is closed
		one.Close()
	}
	if err == nil {
		t.Error("one more was let in")
	}
	s.send("GET", "/v1/batches", "").want(200, nil)
	for _, conn := range all {
		conn.Close()
	}
	s.client.CloseIdleConnections()
	s.until(func() bool { return open.count() == 0 })
	one, err = other.DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(one, "GET /livez HTTP/1.0\r\nHost: localhost\r\n\r\n")
	if got, err := io.ReadAll(one); err != nil || !strings.HasPrefix(string(got), "HTTP/1.0 200") {
		t.Errorf("afterwards: %q, %v", got, err)
	}
	one.Close()
}
