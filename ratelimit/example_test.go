package ratelimit_test

import (
	"context"
	"fmt"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"tiwsnap/keys"
	"tiwsnap/ratelimit"
)

func Example() {
	server := miniredis.NewMiniRedis()
	if err := server.Start(); err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true})
	defer client.Close()

	limiter, err := ratelimit.New(ratelimit.Options{
		Redis: client,
		Key:   keys.Limit("100001234567", "CreateSnapshotTask"),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	defer limiter.Close(ctx)

	permit, err := limiter.Acquire(ctx, ratelimit.Interactive)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer permit.Release() // unless it is used
	// Here is time to write down what is about to be sent.
	if err := permit.Use(ctx); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("send now")
	permit.Sent()
	// Output: send now
}
