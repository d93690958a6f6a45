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
	// idempotencyLease is how long a key is locked by a process that has died.
	idempotencyLease = 30 * time.Second
)

// idempotency stores the answers to requests with an idempotency key.
type idempotency struct {
	rdb redis.UniversalClient
	ns  keys.Namespace
}

// claim is a request with a key. Without a key it stores nothing.
type claim struct {
	rdb    redis.UniversalClient
	record string // key in Redis; empty: none
	token  string
	id     string // of what is created: the same for all requests with the key
	answer *storedAnswer
	stop   func() // renewing
}

// storedAnswer is the answer to a request with a key.
type storedAnswer struct {
	sum      string // SHA-256 of the request, in hexadecimal
	status   int
	location string
	body     string
}

// claim begins a request of a principal with a key. It has an answer if there was one before. Errors: a *Problem if
// another request with the key is running, or that of Redis.
func (i idempotency) claim(ctx context.Context, operation, key string) (*claim, error) {
	c := &claim{rdb: i.rdb, token: rand.Text(), id: strings.ToLower(rand.Text()[:16]), stop: func() {}}
	// Some clients send the key in quotes, as a string of RFC 9651: the draft of the header asks for that.
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
	c.answer = &storedAnswer{reply[1].(string), status, reply[3].(string), reply[4].(string)}
	return nil
}

// renew holds the key until the claim ends.
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
				c.call(ctx) // a failure does no harm: the id is the same for all requests
			case <-ctx.Done():
				return
			}
		}
	}()
	c.stop = func() { cancel(); <-done }
}

// replay returns the stored answer to a request of that sum. The error is a *Problem if it is another request.
func (c *claim) replay(sum string) (*accepted, error) {
	if c.answer.sum != sum {
		return nil, web.NewProblem(http.StatusUnprocessableEntity, web.CodeKeyReused,
			"this Idempotency-Key was used for another request within the last 24 hours; this one needs another key")
	}
	return c.answer.accepted(true), nil
}

// end ends the claim: with the answer, or with nil so that the client may try again with the same key. If Redis does
// not take it, the key is free after the lease, and the id leads to what was created.
func (c *claim) end(ctx context.Context, a *storedAnswer, log *slog.Logger) {
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

func (k *storedAnswer) accepted(again bool) *accepted {
	out := &accepted{Status: k.status, Location: k.location, Body: json.RawMessage(k.body)}
	if again {
		out.Replayed = "true"
	}
	return out
}
