package ratelimit_test

import (
	"context"
	"fmt"

	"tiwsnap/internal/embedded"
	"tiwsnap/internal/keys"
	"tiwsnap/ratelimit"
)

func Example() {
	client, closeRedis, err := embedded.Open() // in production: redis.NewClient
	if err != nil {
		fmt.Println(err)
		return
	}
	defer closeRedis()

	limiter, err := ratelimit.New(ratelimit.Options{
		Redis: client,
		Key:   keys.Default.Limit("CreateSnapshotTask"),
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
	defer permit.Release() // no effect after Sent
	// Record the intent to send here.
	if err := permit.Use(ctx); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("send now")
	permit.Sent()
	// Output: send now
}
