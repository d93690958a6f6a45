package main

import (
	"bytes"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// proxy is a proxy in front of Redis. It counts round trips and can add latency. Bytes that a client sends before it
// has a reply belong to the same trip, so a pipeline counts as one.
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

// newProxy listens on a free loopback port. It adds latency to each round trip, half of it each way. Close it.
func newProxy(target string, latency time.Duration) (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{addr: l.Addr().String(), listener: l, target: target, oneWay: latency / 2, open: make(map[net.Conn]bool)}
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
	var answered atomic.Bool // the client has a reply to its last bytes
	answered.Store(true)
	var both sync.WaitGroup
	both.Go(func() {
		to := newDelayLine(server, p.oneWay)
		defer to.Close()
		io.Copy(to, departure{client, &answered, &p.trips})
	})
	both.Go(func() {
		to := newDelayLine(arrival{client, &answered}, p.oneWay)
		defer to.Close()
		io.Copy(to, server)
	})
	both.Wait()
	p.mu.Lock()
	delete(p.open, client)
	delete(p.open, server)
	p.mu.Unlock()
}

// departure reads requests of the client. It counts them before Redis has them, and so before a reply.
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

// arrival writes replies to the client.
type arrival struct {
	net.Conn
	answered *atomic.Bool
}

func (a arrival) Write(b []byte) (int, error) {
	a.answered.Store(true)
	return a.Conn.Write(b)
}

// delayLine writes to a connection with a delay and in order. Close closes the connection after the last write.
type delayLine struct {
	to    io.WriteCloser
	takes time.Duration
	queue chan parcel // nil if there is no delay
}

type parcel struct {
	due   time.Time
	bytes []byte
}

func newDelayLine(to io.WriteCloser, takes time.Duration) *delayLine {
	r := &delayLine{to: to, takes: takes}
	if takes > 0 {
		r.queue = make(chan parcel, 1000)
		go r.deliver()
	}
	return r
}

func (r *delayLine) Write(b []byte) (int, error) {
	if r.queue == nil {
		return r.to.Write(b)
	}
	r.queue <- parcel{time.Now().Add(r.takes), bytes.Clone(b)}
	return len(b), nil
}

func (r *delayLine) deliver() {
	defer r.to.Close()
	for p := range r.queue {
		time.Sleep(time.Until(p.due))
		r.to.Write(p.bytes) // on failure the other direction ends, too, and then this one
	}
}

func (r *delayLine) Close() error {
	if r.queue == nil {
		return r.to.Close()
	}
	close(r.queue)
	return nil
}
