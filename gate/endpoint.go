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

// EndpointError means that the namespace uses another endpoint of the API than this
// process. It keeps a laptop with a simulator from taking the rooms of production.
type EndpointError struct {
	Namespace    keys.Namespace
	Known, Given string // URLs
}

func (e *EndpointError) Error() string {
	return fmt.Sprintf("namespace %s works with the endpoint %s, but this process has %s (TIWSNAP_TIW_ENDPOINT)",
		e.Namespace, e.Known, e.Given)
}

// Fix returns what a person can do.
func (e *EndpointError) Fix() string {
	return "give the installation at " + e.Given + " its own TIWSNAP_NAMESPACE; " +
		"or, if this one has moved there, stop its workers and start one once with: tiwsnap worker --moved"
}

// CheckEndpoint returns an *EndpointError if another endpoint than this URL has
// accepted requests of the namespace. Other errors are those of Redis.
func (b *Breaker) CheckEndpoint(ctx context.Context, url string) error {
	return b.endpoint(ctx, url, "check")
}

// UseEndpoint is CheckEndpoint for a worker, and stores its endpoint. With moved the
// endpoint replaces any other one.
func (b *Breaker) UseEndpoint(ctx context.Context, url string, moved bool) error {
	if moved {
		return b.endpoint(ctx, url, "moved")
	}
	return b.endpoint(ctx, url, "use")
}

func (b *Breaker) endpoint(ctx context.Context, url, action string) error {
	url = strings.ToLower(url)
	known, err := endpointScript.Run(ctx, b.rdb, []string{b.ns.Endpoint(), b.ns.Gate()}, url, action).Text()
	switch {
	case err != nil:
		return fmt.Errorf("compare the endpoint with %s: %w", b.ns.Endpoint(), err)
	case known != "":
		return &EndpointError{b.ns, known, url}
	}
	return nil
}
