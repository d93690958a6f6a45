// Package guardtest provides a name server for tests of guarded requests.
package guardtest

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
)

// DNS starts a name server on loopback. It answers queries for IPv4 addresses with those that answer returns, and has
// no other records.
func DNS(t *testing.T, answer func() []string) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			conn.WriteTo(reply(buf[:n], answer), from)
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// reply answers one query, by RFC 1035, section 4.
func reply(query []byte, answer func() []string) []byte {
	const header = 12
	end := header
	for query[end] != 0 { // the name, label by label
		end += int(query[end]) + 1
	}
	question := query[header : end+5]
	var ips []string
	if binary.BigEndian.Uint16(query[end+1:]) == 1 { // type A
		ips = answer()
	}
	out := append([]byte{}, query[:2]...)                  // id
	out = append(out, 0x85, 0x80, 0, 1, 0, byte(len(ips))) // an authoritative answer to one question
	out = append(append(out, 0, 0, 0, 0), question...)     // nothing else
	for _, ip := range ips {
		out = append(out, 0xc0, header, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4) // the same name, A, IN, no caching, 4 bytes
		out = append(out, netip.MustParseAddr(ip).AsSlice()...)
	}
	return out
}
