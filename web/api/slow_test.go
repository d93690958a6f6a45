package api_test

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
	"tiwsnap/web/api"
	"tiwsnap/web/webtest"
)

// Slow and vanished clients do not block other clients. They leave no connection and no goroutine.
func TestSlowClients(t *testing.T) {
	needs.Time(t)
	open := webtest.Conns{Open: map[net.Conn]bool{}}
	s := webtest.ServeBy(t, func(server *http.Server) {
		server.ReadHeaderTimeout, server.ReadTimeout = time.Second, 2*time.Second
		server.ConnState = open.State
	}, redistest.RealClient(t), func(o *api.Options) { o.SetUploadPace(2 * time.Second) })
	s.Add("b", 1)
	s.Client.CloseIdleConnections()
	s.Until(func() bool { return open.Count() == 0 })
	before := runtime.NumGoroutine()

	var clients sync.WaitGroup
	dial := func() *net.TCPConn {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
		if err != nil {
			t.Error(err)
			return nil
		}
		return conn.(*net.TCPConn)
	}
	request := func(method, path string, more ...string) string {
		return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n%s", method, path,
			s.Tokens[web.RoleProduce], strings.Join(more, ""))
	}
	// trickle sends the beginning of a request, and then a byte every 100 ms until the server closes the connection.
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
	const many = 45 // clients of each of eight kinds: one address may open 512 connections
	for range many {
		trickle(request("GET", "/v1/batches/b", "X-Slow: "))
		trickle(request("POST", "/v1/snapshots", "Content-Type: application/json\r\nContent-Length: 10000\r\n\r\n",
			`{"Key":"`))
		trickle(request("POST", "/v1/batches?name=slow", "Content-Type: text/csv\r\nContent-Length: 1000000\r\n\r\n",
			"SdkAppId,RoomId,Label.A\n7,1,"))
		// The server responds to these before their body arrives.
		trickle(request("POST", "/v1/batches?webhook=https://a.example",
			"Content-Type: text/csv\r\nContent-Length: 200000\r\n\r\n"))
		trickle(request("POST", "/v1/batches?webhook=https://a.example",
			"Content-Type: text/csv\r\nContent-Length: 2000000\r\n\r\n"))
		trickle(request("GET", "/v1/batches/b/events", "Content-Length: 200000\r\n\r\n"))
		clients.Go(func() { // sends nothing until the server closes the connection
			if conn := dial(); conn != nil {
				io.Copy(io.Discard, conn)
				conn.Close()
			}
		})
		clients.Go(func() { // sends a request and resets the connection
			if conn := dial(); conn != nil {
				io.WriteString(conn, request("GET", "/v1/batches/b", "\r\n"))
				conn.SetLinger(0)
				conn.Close()
			}
		})
	}
	// These follow a batch and read no events.
	var silent []*net.TCPConn
	for range 2 * web.MaxOwnStreams {
		conn := dial()
		if conn == nil {
			t.FailNow()
		}
		io.WriteString(conn, request("GET", "/v1/batches/b/events", "\r\n"))
		silent = append(silent, conn)
	}

	var good sync.WaitGroup
	for n := range 4 {
		good.Go(func() {
			for i := range 10 {
				s.Send("GET", "/v1/batches/b", "").Want(200, nil)
				path := fmt.Sprintf("/v1/batches?name=good-%d-%d", n, i)
				s.Send("POST", path, "SdkAppId,RoomId\n7,1\n", "Content-Type", "text/csv").Want(202, nil)
			}
		})
	}
	if e, ok := s.Follow("/v1/batches/b/events")(); !ok || e.Name != "batch" {
		t.Errorf("first event of a stream is %+v, want batch", e)
	}
	good.Wait()
	clients.Wait() // the server has closed each connection
	for _, conn := range silent {
		conn.SetLinger(0)
		conn.Close()
	}
	s.Until(func() bool {
		s.Client.CloseIdleConnections()
		return open.Count() <= 1 // the stream above
	})
	s.Until(func() bool { return runtime.NumGoroutine() <= before+10 }) // for the stream and a connection pool
}

// Slow uploads of one token do not block the uploads of another.
func TestUploadLimitPerToken(t *testing.T) {
	s := webtest.NewService(t)
	s.Client.Transport.(*http.Transport).ExpectContinueTimeout = 20 * time.Second
	var slow []*io.PipeWriter
	var done sync.WaitGroup
	for n := range api.MaxOwnUploads {
		list, w := io.Pipe()
		// The server sends 100 Continue when it has started the upload.
		r := s.Request("POST", fmt.Sprintf("/v1/batches?name=slow-%d", n), "", "Content-Type", "text/csv", "Expect",
			"100-continue")
		r.Body, r.ContentLength = list, -1
		done.Go(func() {
			var got api.Enqueued
			s.Do(r).Want(202, &got)
		})
		io.WriteString(w, "SdkAppId,RoomId\n")
		slow = append(slow, w)
	}
	upload := func(token web.Role) webtest.Reply {
		return s.Send("POST", "/v1/batches?name=one", "SdkAppId,RoomId\n7,1\n", "Content-Type", "text/csv",
			"Authorization", "Bearer "+s.Tokens[token])
	}
	upload(web.RoleOperate).Problem(503, "busy")
	if r := upload(web.RoleProduce); r.Status/100 != 2 {
		t.Errorf("another token: status %d, want 2xx: %s", r.Status, r.Body)
	}
	for _, w := range slow {
		io.WriteString(w, "7,1\n")
		w.Close()
	}
	done.Wait()
	if r := upload(web.RoleOperate); r.Status/100 != 2 {
		t.Errorf("after the slow uploads: status %d, want 2xx: %s", r.Status, r.Body)
	}
}
