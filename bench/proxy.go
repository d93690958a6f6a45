package main

import (
	"bytes"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// proxy stands in front of Redis and counts the round trips through it. What a
// client sends before it has an answer to what it sent before is the same trip:
// a pipeline is one. It can be far away.
type proxy struct {
	addr     string
	listener net.Listener
	target   string
	oneWay   time.Duration
	trips    atomic.Int64
	wg       sync.WaitGroup

	mu     sync.Mutex
	open   map[net.Conn]bool
	closed bool
}

// newProxy listens on a free loopback port. A round trip through it takes away
// longer, half of that each way. Close it.
func newProxy(target string, away time.Duration) (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{addr: l.Addr().String(), listener: l, target: target, oneWay: away / 2, open: make(map[net.Conn]bool)}
	p.wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { p.serve(client) })
		}
	})
	return p, nil
}

// close cuts every connection.
func (p *proxy) close() {
	p.listener.Close()
	p.mu.Lock()
	p.closed = true
	for c := range p.open {
		c.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

// keep registers a connection, unless the proxy is closed.
func (p *proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.open[c] = true
	return true
}

func (p *proxy) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer server.Close()
	if !p.keep(client) || !p.keep(server) {
		return
	}
	var answered atomic.Bool // since the client has last sent anything
	answered.Store(true)
	var both sync.WaitGroup
	both.Go(func() {
		to := newRoad(server, p.oneWay)
		defer to.Close()
		io.Copy(to, departure{client, &answered, &p.trips})
	})
	both.Go(func() {
		to := newRoad(arrival{client, &answered}, p.oneWay)
		defer to.Close()
		io.Copy(to, server)
	})
	both.Wait()
	p.mu.Lock()
	delete(p.open, client)
	delete(p.open, server)
	p.mu.Unlock()
}

// departure is where requests leave the client. They are counted before Redis
// has them, and so before it can answer.
type departure struct {
	io.Reader
	answered *atomic.Bool
	trips    *atomic.Int64
}

func (d departure) Read(b []byte) (int, error) {
	n, err := d.Reader.Read(b)
	if n > 0 && d.answered.Swap(false) {
		d.trips.Add(1)
	}
	return n, err
}

// arrival is where answers reach the client.
type arrival struct {
	net.Conn
	answered *atomic.Bool
}

func (a arrival) Write(b []byte) (int, error) {
	a.answered.Store(true)
	return a.Conn.Write(b)
}

// road leads to a connection: what is written to it arrives some time later, in
// order. Close closes the connection after the last of it has arrived.
type road struct {
	to    io.WriteCloser
	takes time.Duration
	queue chan parcel // nil where it takes no time
}

type parcel struct {
	due   time.Time
	bytes []byte
}

func newRoad(to io.WriteCloser, takes time.Duration) *road {
	r := &road{to: to, takes: takes}
	if takes > 0 {
		r.queue = make(chan parcel, 1000)
		go r.deliver()
	}
	return r
}

func (r *road) Write(b []byte) (int, error) {
	if r.queue == nil {
		return r.to.Write(b)
	}
	r.queue <- parcel{time.Now().Add(r.takes), bytes.Clone(b)}
	return len(b), nil
}

func (r *road) deliver() {
	defer r.to.Close()
	for p := range r.queue {
		time.Sleep(time.Until(p.due))
		r.to.Write(p.bytes) // where that fails, the other direction ends, too, and with it this one
	}
}

func (r *road) Close() error {
	if r.queue == nil {
		return r.to.Close()
	}
	close(r.queue)
	return nil
}
