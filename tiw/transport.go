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

// maxResponse bounds a response after decompression, in bytes. The largest one has the
// images of a task: some thousand URLs.
const maxResponse = 1 << 20

// exchange records one call in the transport. It is in the context of the request.
type exchange struct {
	stage   stage
	refused error  // error of the gate; the request was not written
	status  int    // of the response; 0 without one
	date    string // Date header of the response
	body    []byte // of the response, as far as it was received
}

type stage uint8

const (
	notTried   stage = iota // no connection was requested
	connecting              // nothing was written
	sent                    // some or all of the request may have been written
)

type exchangeKey struct{}

type gateKey struct{}

type gate struct {
	pass    func(context.Context) error
	written func()
}

// WithGate returns a context for one call that runs pass after the connection is ready
// and before the request is written. A rate limit belongs there, because connecting
// takes a varying time. If pass fails, nothing is written; the error has the class
// NotSent and wraps that of pass.
//
// written, if not nil, is called when the request has been written to the network: once
// for each part if the request needs several writes, and never if the call ends before.
func WithGate(ctx context.Context, pass func(context.Context) error, written func()) context.Context {
	return context.WithValue(ctx, gateKey{}, gate{pass, written})
}

// withExchange returns a context with an exchange. abort must cancel ctx.
func withExchange(ctx context.Context, abort context.CancelFunc) (context.Context, *exchange) {
	x := &exchange{}
	gate, _ := ctx.Value(gateKey{}).(gate)
	ctx = context.WithValue(ctx, exchangeKey{}, x)
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		// net/http calls GetConn again for a POST only if the connection was closed before
		// anything was written.
		GetConn: func(string) { x.stage = connecting },
		// net/http waits for GotConn before it writes the request.
		GotConn: func(info httptrace.GotConnInfo) {
			if gate.pass != nil {
				if x.refused = gate.pass(ctx); x.refused != nil {
					abort()
					info.Conn.Close() // net/http would write before it checks the context
					return
				}
			}
			x.stage = sent
			onWrite(info.Conn, gate.written)
		},
	}), x
}

// conn is a connection with a hook after each write. The hook WroteRequest of net/http
// is called before the last buffer is flushed.
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

// onWrite sets the hook of the conn below c, which may be a TLS connection. written may
// be nil.
func onWrite(c net.Conn, written func()) {
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

// transport is an http.RoundTripper that reads the whole response before it returns.
// So the deadline and the size limit also apply to the body. The SDK, which reads
// without bounds and panics on some bodies, gets JSON objects only. Everything else is
// an error, including redirects: following one would send the request twice.
type transport struct {
	http *http.Transport
}

// newTransport returns a transport that keeps up to idle connections to one host.
// timeout is the timeout of a call. net/http continues to connect after the call has
// ended, so connecting has its own timeouts. They are longer, so that a call always
// ends by its context.
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
		// Tencent closes idle connections after about 60 s. A request that is sent at that
		// moment would have an unknown outcome.
		IdleConnTimeout:        45 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		Protocols:              protocols,
	}}
}

func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	x := req.Context().Value(exchangeKey{}).(*exchange)
	resp, err := t.http.RoundTrip(req)
	if err != nil && x.stage == sent {
		return nil, fmt.Errorf("no response: %w", err)
	}
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	x.status, x.date = resp.StatusCode, resp.Header.Get("Date")

	// The body of a 101 is the raw connection, without a deadline.
	if resp.StatusCode < 200 || 300 <= resp.StatusCode && resp.StatusCode < 400 {
		return nil, errors.New("redirects and upgrades are not followed")
	}
	if enc := resp.Header.Get("Content-Encoding"); enc != "" {
		return nil, fmt.Errorf("response has the content encoding %.40q, which was not requested", enc)
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
