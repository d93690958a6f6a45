package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// proxy stands in front of Redis and counts what goes through it: commands as
// clients send them, and round trips. What a client sends before it has an
// answer to what it sent before is the same trip: a pipeline is one. It can be
// far away.
type proxy struct {
	addr     string
	listener net.Listener
	target   string
	oneWay   time.Duration
	commands atomic.Int64
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
		p.count(client, to, &answered)
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

// count passes the client's commands on and counts them.
func (p *proxy) count(client io.Reader, server io.Writer, answered *atomic.Bool) {
	in := bufio.NewReaderSize(client, 64<<10)
	out := bufio.NewWriterSize(server, 64<<10)
	for {
		// Counted before Redis has it, and so before it can answer.
		if _, err := in.Peek(1); err != nil {
			return
		}
		p.commands.Add(1)
		if answered.Swap(false) {
			p.trips.Add(1)
		}
		if err := copyCommand(out, in); err != nil {
			return
		}
		if in.Buffered() == 0 {
			if err := out.Flush(); err != nil {
				return
			}
		}
	}
}

// copyCommand copies one command: an array of bulk strings.
// See https://redis.io/docs/latest/develop/reference/protocol-spec/.
func copyCommand(out *bufio.Writer, in *bufio.Reader) error {
	n, err := copyLength(out, in, '*')
	for range n {
		var size int
		if size, err = copyLength(out, in, '$'); err != nil {
			return err
		}
		if _, err = io.CopyN(out, in, int64(size)+2); err != nil {
			return err
		}
	}
	return err
}

// copyLength copies a line that is a kind and a length.
func copyLength(out *bufio.Writer, in *bufio.Reader, kind byte) (int, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return 0, err
	}
	if line[0] != kind {
		return 0, fmt.Errorf("%q is not a length of kind %q", line, kind)
	}
	if _, err := out.WriteString(line); err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(line[1:]))
	if err == nil && n < 0 {
		err = fmt.Errorf("%q: the length is negative", line)
	}
	return n, err
}
