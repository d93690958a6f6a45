package client_test

import (
	"context"
	"fmt"
	"iter"
	"log"
	"os"

	"tiwsnap/client"
)

// Example enqueues a batch of three rooms of one application twice. The second call finds the existing batch. No worker
// runs here, so the example cancels the batch at the end.
func Example() {
	ctx := context.Background()
	c, err := client.Open(os.Getenv("TIWSNAP_REDIS_URL"), os.Getenv("TIWSNAP_NAMESPACE"))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	var rooms iter.Seq2[client.Room, error] = func(yield func(client.Room, error) bool) {
		for id := range uint64(3) {
			if !yield(client.Room{RoomId: 101 + id, Label: map[string]string{"Class": "3B"}}, nil) {
				return
			}
		}
	}
	options := client.BatchOptions{ID: "lesson-7", Defaults: client.Room{SdkAppId: 1400123480}}
	for range 2 {
		batch, err := c.Batch(ctx, rooms, options)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(batch.ID, batch.Rooms, batch.Created)
	}

	// A single room goes ahead of every batch. It is enqueued once per key.
	room := client.Room{SdkAppId: 1400123480, RoomId: 104}
	if _, err := c.Room(ctx, room, client.RoomOptions{Key: "lesson-7"}); err != nil {
		log.Fatal(err)
	}

	if _, err := c.Cancel(ctx, "lesson-7"); err != nil {
		log.Fatal(err)
	}
	status, err := c.Wait(ctx, "lesson-7")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(status.State, status.Succeeded, "succeeded", status.Canceled, "canceled")
	for r, err := range c.Results(ctx, "lesson-7") {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(r.Room.RoomId, r.State, r.Images)
	}
	// Output:
	// lesson-7 3 true
	// lesson-7 3 false
	// canceled 0 succeeded 3 canceled
	// 101 canceled []
	// 102 canceled []
	// 103 canceled []
}
