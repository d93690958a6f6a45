package enqueue_test

import (
	"context"
	"fmt"
	"iter"
	"log"

	"tiwsnap/enqueue"
	"tiwsnap/rdb"
	"tiwsnap/tasks"
)

// A batch of three rooms of one application, twice: the second call finds the
// batch of the first.
func Example() {
	client, closeRedis, err := rdb.Open("embedded") // in real life: redis://HOST:6379/0
	if err != nil {
		log.Fatal(err)
	}
	defer closeRedis()

	var rooms iter.Seq2[tasks.Room, error] = func(yield func(tasks.Room, error) bool) {
		for id := range uint64(3) {
			if !yield(tasks.Room{RoomId: 101 + id, Label: map[string]string{"Class": "3B"}}, nil) {
				return
			}
		}
	}
	producer := enqueue.New(client, "tiwsnap") // the namespace of the workers
	options := enqueue.BatchOptions{ID: "lesson-7", Defaults: tasks.Room{SdkAppId: 1400123480}}
	for range 2 {
		batch, err := producer.Batch(context.Background(), rooms, options)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(batch.ID, batch.Rooms, batch.Created)
	}

	// One room, ahead of every batch.
	if _, err := producer.Room(context.Background(), tasks.Room{SdkAppId: 1400123480, RoomId: 104}, enqueue.RoomOptions{Key: "lesson-7"}); err != nil {
		log.Fatal(err)
	}
	// Output:
	// lesson-7 3 true
	// lesson-7 3 false
}
