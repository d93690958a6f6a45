package embedded_test

import (
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"tiwsnap/internal/embedded"
	"tiwsnap/internal/needs"
)

func TestOpen(t *testing.T) {
	needs.Time(t)
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	c, closeRedis, err := embedded.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := closeRedis(); err != nil {
			t.Error(err)
		}
		if err := closeRedis(); err != nil {
			t.Errorf("second close: %v", err)
		}
	}()
	if err := c.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if err := c.Set(t.Context(), "short", "v", time.Second).Err(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); c.Exists(t.Context(), "short").Val() != 0; {
		if time.Now().After(deadline) {
			t.Fatal("the key has not expired within 20 s")
		}
	}
	if got, err := c.Get(t.Context(), "k").Result(); err != nil || got != "v" {
		t.Errorf("the key without an expiry is %q, %v, want v", got, err)
	}

	// Other users of the machine can reach the port, but they do not have the password.
	unauthenticated := redis.NewClient(&redis.Options{Addr: c.(*redis.Client).Options().Addr})
	defer unauthenticated.Close()
	if err := unauthenticated.Get(t.Context(), "k").Err(); err == nil || !strings.Contains(err.Error(), "NOAUTH") {
		t.Errorf("without the password: got %v, want NOAUTH", err)
	}

	other, closeOther, err := embedded.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer closeOther()
	if n := other.DBSize(t.Context()).Val(); n != 0 {
		t.Errorf("a second embedded Redis has %d keys, want none", n)
	}
}
