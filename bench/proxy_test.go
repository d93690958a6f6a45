package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/redistest"
)

// proxyClient returns a client that reaches the server through the proxy.
func proxyClient(t *testing.T, p *proxy, server *redis.Client) *redis.Client {
	o := *server.Options()
	o.Addr = p.addr
	c := redis.NewClient(&o)
	t.Cleanup(func() { c.Close() })
	return c
}

// With latency, each command takes at least that long, and no data is lost.
func TestProxyLatency(t *testing.T) {
	server := redistest.Client(t)
	const latency = 20 * time.Millisecond
	p, err := newProxy(server.Options().Addr, latency)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	client := proxyClient(t, p, server)
	ctx := t.Context()
	if err := client.Ping(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x\r\n", 100_000)
	trips, begin := p.trips.Load(), time.Now()
	if err := client.Set(ctx, "k", long, 0).Err(); err != nil {
		t.Fatal(err)
	}
	got, err := client.Get(ctx, "k").Result()
	if err != nil || got != long {
		t.Errorf("read %d bytes, want the %d written: %v", len(got), len(long), err)
	}
	if took, n := time.Since(begin), p.trips.Load()-trips; took < 2*latency || n != 2 {
		t.Errorf("%d round trips in %v, want 2 in %v or more", n, took, 2*latency)
	}
}

// A script is one round trip, because its calls stay inside Redis. A pipeline of several commands is one round trip
// too. The proxy changes no data.
func TestProxy(t *testing.T) {
	server := redistest.Client(t)
	p, err := newProxy(server.Options().Addr, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	client := proxyClient(t, p, server)
	ctx := t.Context()
	// The handshake of a new connection must not be counted. Pipelines have a connection of their own.
	_, err = client.Pipelined(ctx, func(pipe redis.Pipeliner) error { return pipe.Ping(ctx).Err() })
	if err := errors.Join(err, client.Ping(ctx).Err()); err != nil {
		t.Fatal(err)
	}

	oneTrip := func(name string, f func() error) {
		t.Helper()
		before := p.trips.Load()
		if err := f(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if n := p.trips.Load() - before; n != 1 {
			t.Errorf("%s: %d round trips, want 1", name, n)
		}
	}
	long := strings.Repeat("x\r\n", 100_000)
	oneTrip("a long value", func() error { return client.Set(ctx, "k", long, 0).Err() })
	oneTrip("a script", func() error {
		return client.Eval(ctx, "for i = 1, 5 do redis.call('INCR', KEYS[1]) end return 1", []string{"n"}).Err()
	})
	oneTrip("a pipeline", func() error {
		_, err := client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			for range 10 {
				pipe.Incr(ctx, "n")
			}
			return nil
		})
		return err
	})
	if got := client.Get(ctx, "k").Val(); got != long {
		t.Errorf("read %d bytes, want the %d written", len(got), len(long))
	}
	if got := client.Get(ctx, "n").Val(); got != "15" {
		t.Errorf("n = %s, want 15", got)
	}
}
