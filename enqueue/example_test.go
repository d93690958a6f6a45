package enqueue_test

import (
	"context"
	"fmt"
	"iter"
	"log"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"tiwsnap/enqueue"
	"tiwsnap/tasks"
)

// A batch of three rooms of one application, twice: the second call finds the
// batch of the first.
func Example() {
	server, err := miniredis.Run() // in real life: your Redis
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer rdb.Close()

	var rooms iter.Seq2[tasks.Room, error] = func(yield func(tasks.Room, error) bool) {
		for id := range uint64(3) {
			if !yield(tasks.Room{RoomId: 101 + id, Label: map[string]string{"Class": "3B"}}, nil) {
				return
			}
		}
	}
	client := enqueue.New(rdb)
	options := enqueue.BatchOptions{ID: "lesson-7", Defaults: tasks.Room{SdkAppId: 1400123480}}
	for range 2 {
		batch, err := client.Batch(context.Background(), rooms, options)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(batch.ID, batch.Rooms, batch.Created)
	}

	// One room, ahead of every batch.
	if _, err := client.Room(context.Background(), tasks.Room{SdkAppId: 1400123480, RoomId: 104}, enqueue.RoomOptions{Key: "lesson-7"}); err != nil {
		log.Fatal(err)
	}
	// Output:
	// lesson-7 3 true
	// lesson-7 3 false
}
