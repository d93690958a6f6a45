package bench

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// proxy stands in front of Redis and counts what goes through it: commands as
// clients send them, and round trips. What a client sends before it has an
// answer to what it sent before is the same trip: a pipeline is one.
type proxy struct {
	addr     string
	listener net.Listener
	target   string
	commands atomic.Int64
	trips    atomic.Int64
	wg       sync.WaitGroup

	mu     sync.Mutex
	open   map[net.Conn]bool
	closed bool
}

// newProxy listens on a free loopback port. Close it.
func newProxy(target string) (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{addr: l.Addr().String(), listener: l, target: target, open: make(map[net.Conn]bool)}
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
		defer server.Close()
		p.count(client, server, &answered)
	})
	both.Go(func() {
		defer client.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := server.Read(buf)
			if n > 0 {
				answered.Store(true)
				if _, err := client.Write(buf[:n]); err != nil {
					return
				}
			}
			if err != nil {
				return
			}
		}
	})
	both.Wait()
	p.mu.Lock()
	delete(p.open, client)
	delete(p.open, server)
	p.mu.Unlock()
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
