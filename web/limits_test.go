package web_test

import (
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"tiwsnap/internal/redistest"
	"tiwsnap/web"
	"tiwsnap/web/webtest"
)

func TestRequestRateLimit(t *testing.T) {
	s := webtest.NewService(t)
	limited := 0
	for range 400 {
		r := s.Send("GET", "/v1/limit", "", "Authorization", "Bearer "+s.Tokens[web.RoleView])
		if r.Status == 429 {
			limited++
			r.Problem(429, "rate")
		}
	}
	if limited == 0 {
		t.Error("none of 400 requests was rejected")
	}
	s.Send("GET", "/v1/limit", "").Want(200, nil) // with another token
}

// One address may open half of the connections. Other addresses are still served.
func TestConnectionLimitPerAddress(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has 127.0.0.2 without configuration")
	}
	open := webtest.Conns{Open: map[net.Conn]bool{}}
	s := webtest.ServeBy(t, func(server *http.Server) {
		server.ReadHeaderTimeout = time.Minute
		server.ConnState = open.State
	}, redistest.Client(t))
	addr := strings.TrimPrefix(s.URL, "http://")
	other := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	var all []net.Conn
	for range web.MaxOwnConns {
		conn, err := other.DialContext(t.Context(), "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, conn)
	}
	s.Until(func() bool { return open.Count() == web.MaxOwnConns })
	extra, err := other.DialContext(t.Context(), "tcp", addr)
	if err == nil {
		_, err = extra.Read(make([]byte, 1)) // until the server closes it
		extra.Close()
	}
	if err == nil {
		t.Error("the server accepted one more connection than the limit")
	}
	s.Send("GET", "/v1/batches", "").Want(200, nil)
	for _, conn := range all {
		conn.Close()
	}
	s.Client.CloseIdleConnections()
	s.Until(func() bool { return open.Count() == 0 })
	conn, err := other.DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(conn, "GET /livez HTTP/1.0\r\nHost: localhost\r\n\r\n")
	if got, err := io.ReadAll(conn); err != nil || !strings.HasPrefix(string(got), "HTTP/1.0 200") {
		t.Errorf("after the connections were closed: got %q, %v, want 200", got, err)
	}
	conn.Close()
}
