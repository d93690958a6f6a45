package main

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	proxyPatience = 2 * time.Second // with one worker, which may be a zombie
	proxyBody     = 1 << 20         // bytes
)

// proxy is a load balancer in front of the workers: a callback goes to any worker that accepts it. It records which
// were accepted, and when.
type proxy struct {
	targets []string // host:port
	client  http.Client
	turn    atomic.Uint64

	mu    sync.Mutex
	taken map[string]time.Time // by path, when a worker had answered it 2xx for the first time
}

func newProxy(targets []string) *proxy {
	return &proxy{
		targets: targets,
		client: http.Client{
			Timeout:   proxyPatience,
			Transport: &http.Transport{MaxIdleConnsPerHost: 8, IdleConnTimeout: 10 * time.Second},
		},
		taken: make(map[string]time.Time),
	}
}

// ServeHTTP tries one worker after another until one answers with a status other than 5xx.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, proxyBody))
	if err != nil {
		http.Error(w, "body: "+err.Error(), http.StatusBadRequest)
		return
	}
	turn := p.turn.Add(1)
	for i := range p.targets {
		target := p.targets[(turn+uint64(i))%uint64(len(p.targets))]
		status, err := p.forward(r.Context(), target, r, body)
		if err != nil || status >= 500 {
			continue
		}
		if status < 300 {
			p.mu.Lock()
			if _, ok := p.taken[r.URL.EscapedPath()]; !ok {
				p.taken[r.URL.EscapedPath()] = time.Now()
			}
			p.mu.Unlock()
		}
		w.WriteHeader(status)
		return
	}
	http.Error(w, "no worker takes it", http.StatusBadGateway)
}

func (p *proxy) forward(ctx context.Context, target string, r *http.Request, body []byte) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, r.Method, "http://"+target+r.URL.EscapedPath(), bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header = r.Header.Clone()
	resp, err := p.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, io.LimitReader(resp.Body, proxyBody))
	return resp.StatusCode, nil
}

// takenAt returns when each callback URL was first accepted. base is the public URL.
func (p *proxy) takenAt(base string) map[string]time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make(map[string]time.Time, len(p.taken))
	for path, at := range maps.All(p.taken) {
		all[base+path] = at
	}
	return all
}
