package webhook_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tiwsnap/internal/guard"
	"tiwsnap/internal/guard/guardtest"
	"tiwsnap/webhook"
)

// An internal address has many spellings. The sender refuses all of them.
func TestInternalAddressesAreRefused(t *testing.T) {
	listener, err := net.Listen("tcp", ":0") // on every address of this machine
	if err != nil {
		t.Fatal(err)
	}
	var connections atomic.Int64
	server := &httptest.Server{Listener: listener, Config: &http.Server{
		Handler: http.NotFoundHandler(),
		ConnState: func(_ net.Conn, s http.ConnState) {
			if s == http.StateNew {
				connections.Add(1)
			}
		},
	}}
	server.Start()
	defer server.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())

	// The resolver of the C library, or the name server of an attacker, may resolve any of these.
	resolver := guardtest.DNS(t, func() []string { return []string{"127.0.0.1"} })
	for _, host := range []string{
		"127.0.0.1", "127.0.0.2", "127.255.255.254", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1",
		"017700000001",
		"0177.0.0.1", "127.0.0.1.", "127.000.000.001", "0", "0.0.0.0", "0.1.2.3", "localhost", "LOCALHOST", "localhost.",
		"metadata.attacker.test", "[::1]", "[0:0:0:0:0:0:0:1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
		"[::127.0.0.1]",
		"[::ffff:0:127.0.0.1]", "[64:ff9b::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]",
		"[64:ff9b::a9fe:a9fe]", "[2002:7f00:1::]",
		"[2001:0:7f00:1::]", "[2001:db8::1]", "[100::1]", "[fe80::1]", "[fe80::1%25lo]", "[fec0::1]", "[fc00::1]",
		"[fd00:ec2::254]", "[ff02::1]",
		"10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1", "169.254.169.254", "169.254.0.23", "100.64.0.1",
		"100.100.100.200",
		"192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255",
		"240.0.0.1", "255.255.255.255",
	} {
		t.Run(host, func(t *testing.T) {
			address := "http://" + host + ":" + port
			s := newSender(t, webhook.Options{HTTP: true, Private: parsePrivate(t, "other.test", "192.168.77.0/24")}, address)
			s.UseResolver(resolver)
			e := sendError(t, s.Send(t.Context(), address, "w-1", time.Now(), noBody))
			// For Go's resolver some of these are neither a name nor an address.
			var unknown *net.DNSError
			if refused := e.Final || errors.As(e, &unknown) && unknown.IsNotFound; !refused || e.Status != 0 {
				t.Errorf("Send(): error = %+v: %v", e, e)
			}
		})
	}
	if n := connections.Load(); n != 0 {
		t.Errorf("%d connections, want none", n)
	}
}

func TestPrivateReceivers(t *testing.T) {
	server := serve(t, func(http.ResponseWriter, *http.Request) {})
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	resolver := guardtest.DNS(t, func() []string { return []string{"127.0.0.1"} })
	for _, test := range []struct {
		host, entry string
		ok          bool
	}{
		{"127.0.0.1", "127.0.0.1", true},
		{"127.0.0.1", "::ffff:127.0.0.1", true},
		{"127.0.0.1", "127.0.0.0/30", true},
		{"127.0.0.1", "127.0.0.2", false},
		{"127.0.0.1", "127.0.0.2/31", false},
		{"hook.test", "127.0.0.1", true},
		{"hook.test", "Hook.Test.", true},
		{"HOOK.test.", "hook.test", true},
		{"hook.test", "test", false},
		{"a.hook.test", "hook.test", false},
		{"hook.test.attacker.test", "hook.test", false},
	} {
		t.Run(test.host+" with "+test.entry+" in the list", func(t *testing.T) {
			address := "http://" + test.host + ":" + port
			s := newSender(t, webhook.Options{HTTP: true, Private: parsePrivate(t, test.entry)}, address)
			s.UseResolver(resolver)
			if err := s.Send(t.Context(), address, "w-1", time.Now(), noBody); (err == nil) != test.ok {
				t.Errorf("Send(): error = %v, want success: %t", err, test.ok)
			}
		})
	}
}

// The name resolves to an allowed address first and to an internal one later.
func TestDNSRebinding(t *testing.T) {
	var port string
	var l net.Listener
	for range 10 { // a port that is free at the one address may be taken at the other
		internal := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("the internal server got a request") })
		_, port, _ = net.SplitHostPort(internal.Listener.Addr().String())
		var err error
		if l, err = net.Listen("tcp", "127.0.0.2:"+port); err == nil {
			break
		}
		t.Log(err)
	}
	if l == nil {
		t.Fatal("no port is free at both addresses")
	}
	allowed := &httptest.Server{Listener: l,
		Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Connection", "close") // the next request needs a new connection
		})}}
	allowed.Start()
	defer allowed.Close()

	var address atomic.Value
	address.Store("127.0.0.2")
	s := newSender(t, webhook.Options{HTTP: true, Private: parsePrivate(t, "127.0.0.2")}, "http://hook.test:"+port)
	s.UseResolver(guardtest.DNS(t, func() []string { return []string{address.Load().(string)} }))
	send := func() error { return s.Send(t.Context(), "http://hook.test:"+port, "w-1", time.Now(), noBody) }
	if err := send(); err != nil {
		t.Fatal(err)
	}
	address.Store("127.0.0.1")
	if e := sendError(t, send()); !e.Final {
		t.Errorf("Send(): error = %+v, want a final one", e)
	}
}

func TestParsePrivate(t *testing.T) {
	for _, bad := range []string{"", "*.lan", "http://hook.lan", "hook.lan:80", "10.0.0.1/8", "10.0.0.0/33", "a b",
		"[::1]", "hook.lan/24", "…"} {
		if _, err := guard.ParsePrivate([]string{"ok.lan", bad}); err == nil ||
			!strings.Contains(err.Error(), fmt.Sprintf("%q", bad)) {
			t.Errorf("ParsePrivate(%q): error = %v", bad, err)
		}
	}
}
