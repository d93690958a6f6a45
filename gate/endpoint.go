package gate

import (
	"context"
	_ "embed"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/keys"
)

var (
	//go:embed endpoint.lua
	endpointSource string
	endpointScript = redis.NewScript(endpointSource)
)

// EndpointError means that a namespace works with another endpoint of the API
// than this process: a laptop with a simulator must not send the rooms of
// production, nor ask there about production's tasks.
type EndpointError struct {
	Namespace    keys.Namespace
	Known, Given string // URLs
}

func (e *EndpointError) Error() string {
	return fmt.Sprintf("namespace %s works with the endpoint %s, but this process has %s (TIWSNAP_TIW_ENDPOINT)",
		e.Namespace, e.Known, e.Given)
}

// Fix is what a person can do.
func (e *EndpointError) Fix() string {
	return "give the installation at " + e.Given + " its own TIWSNAP_NAMESPACE; " +
		"or, if this one has moved there, stop its workers and start one once with: tiwsnap worker --moved"
}

// CheckEndpoint returns an *EndpointError if requests were accepted in the
// namespace by another endpoint than this URL. Other errors are those of Redis.
func (b *Breaker) CheckEndpoint(ctx context.Context, url string) error {
	return b.endpoint(ctx, url, "look")
}

// UseEndpoint is CheckEndpoint for a worker: its endpoint is remembered. With
// moved it replaces any other one.
func (b *Breaker) UseEndpoint(ctx context.Context, url string, moved bool) error {
	if moved {
		return b.endpoint(ctx, url, "moved")
	}
	return b.endpoint(ctx, url, "work")
}

func (b *Breaker) endpoint(ctx context.Context, url, how string) error {
	url = strings.ToLower(url)
	known, err := endpointScript.Run(ctx, b.rdb, []string{b.ns.Endpoint(), b.ns.Gate()}, url, how).Text()
	switch {
	case err != nil:
		return fmt.Errorf("compare the endpoint with %s: %w", b.ns.Endpoint(), err)
	case known != "":
		return &EndpointError{b.ns, known, url}
	}
	return nil
}
