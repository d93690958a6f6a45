package api

import (
	"context"
	"crypto/rand"
	"crypto/sha256"

	"tiwsnap/web"

	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/keys"
)

var (
	//go:embed idempotency.lua
	idempotencySource string
	idempotencyScript = redis.NewScript(idempotencySource)
	//go:embed idempotency_end.lua
	idempotencyEndSource string
	idempotencyEndScript = redis.NewScript(idempotencyEndSource)
)

const (
	// idempotencyLife is how long the answer to a key is kept.
	idempotencyLife = 24 * time.Hour
	// idempotencyLease is how long a key stays with a process that has died.
	idempotencyLease = 30 * time.Second
)

// idempotency remembers what clients have asked for under a key of theirs.
type idempotency struct {
	rdb redis.UniversalClient
	ns  keys.Namespace
}

// claim is one request under a key. Without a key it is a claim of nothing.
type claim struct {
	rdb    redis.UniversalClient
	record string // its key in Redis; empty: none
	token  string
	id     string // of what is to be made: the same for all requests under the key
	answer *kept
	stop   func() // renewing
}

// kept is what a request under a key was answered.
type kept struct {
	sum      string // of the request
	status   int
	location string
	body     string
}

// claim begins a request of a principal under a key. It has an answer where
// there was one before. Errors: a *Problem where another request under that
// key is under way, or Redis'.
func (i idempotency) claim(ctx context.Context, operation, key string) (*claim, error) {
	c := &claim{rdb: i.rdb, token: rand.Text(), id: strings.ToLower(rand.Text()[:16]), stop: func() {}}
	// Some clients send the key as the string of RFC 9651 that the draft of the
	// header asks for, in quotes.
	key = strings.Trim(key, `"`)
	if key == "" {
		return c, nil
	}
	h := sha256.New()
	for _, part := range []string{web.PrincipalOf(ctx).Key(), operation, key} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	c.record = i.ns.Idempotency(hex.EncodeToString(h.Sum(nil)))
	if err := c.take(ctx); err != nil {
		return nil, err
	}
	if c.answer == nil {
		c.renew(ctx)
	}
	return c, nil
}

func (c *claim) call(ctx context.Context) ([]any, error) {
	return idempotencyScript.Run(ctx, c.rdb, []string{c.record},
		c.token, idempotencyLease.Milliseconds(), idempotencyLife.Milliseconds(), c.id).Slice()
}

func (c *claim) take(ctx context.Context) error {
	reply, err := c.call(ctx)
	if err != nil {
		return fmt.Errorf("idempotency key: %w", err)
	}
	switch reply[0].(string) {
	case "busy":
		return web.NewProblem(http.StatusConflict, web.CodeKeyInFlight,
			"another request with this Idempotency-Key is under way").RetryAfter(time.Second)
	case "go":
		c.id = reply[1].(string)
		return nil
	}
	status, _ := strconv.Atoi(reply[2].(string))
	c.answer = &kept{reply[1].(string), status, reply[3].(string), reply[4].(string)}
	return nil
}

// renew keeps the key until the claim has ended.
func (c *claim) renew(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(idempotencyLease / 3)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				c.call(ctx) // where this fails, the next may not; the id is the same for all in any case
			case <-ctx.Done():
				return
			}
		}
	}()
	c.stop = func() { cancel(); <-done }
}

// replay answers what was answered before to a request of that sum. The error
// is a *Problem if it is not the same request.
func (c *claim) replay(sum string) (*accepted, error) {
	if c.answer.sum != sum {
		return nil, web.NewProblem(http.StatusUnprocessableEntity, web.CodeKeyReused,
			"this Idempotency-Key was used for another request within the last 24 hours; this one needs another key")
	}
	return c.answer.accepted(true), nil
}

// end ends the claim: with the answer, or with nil so that the client may try
// again under the same key. Where Redis does not take it, the key is free again
// after the lease, and the id leads to what was made.
func (c *claim) end(ctx context.Context, a *kept, log *slog.Logger) {
	c.stop()
	if c.record == "" || c.answer != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	args := []any{c.token, "", "", "", ""}
	if a != nil {
		args = []any{c.token, a.sum, a.status, a.location, a.body}
	}
	if err := idempotencyEndScript.Run(ctx, c.rdb, []string{c.record}, args...).Err(); err != nil {
		log.Warn("answer not kept for its Idempotency-Key", "err", err)
	}
}

// accepted is the answer to a request that enqueues.
type accepted struct {
	Status   int
	Location string `header:"Location"`
	Replayed string `header:"Idempotent-Replayed" doc:"true: the answer to an earlier request with this key"`
	Body     json.RawMessage
}

func (k *kept) accepted(again bool) *accepted {
	out := &accepted{Status: k.status, Location: k.location, Body: json.RawMessage(k.body)}
	if again {
		out.Replayed = "true"
	}
	return out
}
