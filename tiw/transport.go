package tiw

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

// maxResponse bounds an answer after decompression, in bytes. The largest one
// lists the images of one task: some thousands of URLs.
const maxResponse = 1 << 20

// exchange is what the transport saw of one call. It travels in the context of
// the request.
type exchange struct {
	stage   stage
	refused error  // of the gate; the request was not written
	status  int    // of the response; 0 before there is one
	date    string // of the response, its header
	body    []byte // of the response, as far as it came
}

type stage uint8

const (
	notTried   stage = iota // no connection was asked for
	connecting              // nothing was written yet
	sent                    // some or all of the request may have been written
)

type exchangeKey struct{}

type gateKey struct{}

type gate struct {
	pass    func(context.Context) error
	written func()
}

// WithGate returns a context for one call, which will wait for pass between
// having a connection and writing the request. That is the place for a rate
// limit's last word: the set-up of a connection takes a varying time, and
// nothing else comes after it. If pass fails nothing is written, the class of
// the error is NotSent and it wraps that of pass.
//
// written, if not nil, is called when the network has taken the request; once
// for each part of a request that is too large to be written at once, and not
// at all when the call ends before.
func WithGate(ctx context.Context, pass func(context.Context) error, written func()) context.Context {
	return context.WithValue(ctx, gateKey{}, gate{pass, written})
}

// withExchange prepares a context that abort ends.
func withExchange(ctx context.Context, abort context.CancelFunc) (context.Context, *exchange) {
	x := &exchange{}
	gate, _ := ctx.Value(gateKey{}).(gate)
	ctx = context.WithValue(ctx, exchangeKey{}, x)
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		// net/http goes back to GetConn with a POST only when it wrote nothing
		// on the connection that it had got, because that was closed meanwhile.
		GetConn: func(string) { x.stage = connecting },
		// It calls GotConn from the goroutine that will hand over the request
		// to be written, and waits for its return.
		GotConn: func(info httptrace.GotConnInfo) {
			if gate.pass != nil {
				if x.refused = gate.pass(ctx); x.refused != nil {
					abort()
					info.Conn.Close() // net/http would write first and look at the context then
					return
				}
			}
			x.stage = sent
			tellWrites(info.Conn, gate.written)
		},
	}), x
}

// conn is a connection that tells when something was written to it. The hook
// of net/http for that, WroteRequest, comes before the last buffer is flushed.
type conn struct {
	net.Conn
	written atomic.Value // func()
}

func (c *conn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if written, _ := c.written.Load().(func()); written != nil {
		written()
	}
	return n, err
}

// tellWrites has written called, or nothing, after each write of the request
// that c is for now. TLS lies over the connection that tells.
func tellWrites(c net.Conn, written func()) {
	for {
		over, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		c = over.NetConn()
	}
	if c, ok := c.(*conn); ok {
		c.written.Store(written)
	}
}

// transport is an http.RoundTripper that reads the whole answer before it
// returns, so that the deadline and the size limit hold for the body too and
// the SDK, which reads without bounds and panics on some bodies, sees JSON
// objects only. Anything else is an error, redirects above all: following one
// would send the request twice.
type transport struct {
	http *http.Transport
}

// newTransport returns a transport that keeps idle connections to one host.
// timeout is that of a call. net/http goes on setting up a connection when the
// call that wanted it has ended, so that has bounds of its own; they are wider,
// so that a call always ends by its context.
func newTransport(idle int, timeout time.Duration) *transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	dialer := &net.Dialer{Timeout: 2 * timeout}
	return &transport{&http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &conn{Conn: c}, nil
		},
		TLSHandshakeTimeout: 2 * timeout,
		MaxIdleConnsPerHost: idle,
		// Tencent closes an idle connection after about 60 s; a request that
		// crosses the close on the wire is lost with its outcome unknown.
		IdleConnTimeout:        45 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		Protocols:              protocols,
	}}
}

func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	x := req.Context().Value(exchangeKey{}).(*exchange)
	resp, err := t.http.RoundTrip(req)
	if err != nil && x.stage == sent {
		return nil, fmt.Errorf("no answer: %w", err)
	}
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	x.status, x.date = resp.StatusCode, resp.Header.Get("Date")

	// The body behind 101 is the bare connection, which no deadline would end.
	if resp.StatusCode < 200 || 300 <= resp.StatusCode && resp.StatusCode < 400 {
		return nil, errors.New("redirects and upgrades are not followed")
	}
	if enc := resp.Header.Get("Content-Encoding"); enc != "" {
		return nil, fmt.Errorf("response has the content encoding %.40q, which was not asked for", enc)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse+1))
	x.body = body
	if err != nil {
		return nil, fmt.Errorf("read response: %w", err)
	}
	if len(body) > maxResponse {
		return nil, fmt.Errorf("response is larger than %d bytes", maxResponse)
	}
	if !bytes.HasPrefix(bytes.TrimSpace(body), []byte("{")) {
		return nil, errNotJSON
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

var errNotJSON = errors.New("response is not a JSON object")
