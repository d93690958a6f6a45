package gate_test

import (
	"strings"
	"testing"

	"github.com/hibiken/asynq"

	"tiwsnap/gate"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/redistest"
)

// A queue that was paused in asynqmon is reported as a stop, and Start resumes it.
func TestPausedQueue(t *testing.T) {
	c := redistest.Client(t)
	queue := keys.Default.QueueBulk()
	client := asynq.NewClientFromRedisClient(c)
	if _, err := client.Enqueue(asynq.NewTask("kind", nil), asynq.Queue(queue)); err != nil {
		t.Fatal(err)
	}
	inspector := asynq.NewInspectorFromRedisClient(c)
	if err := inspector.PauseQueue(queue); err != nil {
		t.Fatal(err)
	}
	b := gate.NewBreaker(c, keys.Default)
	stops, err := b.Stops(t.Context())
	if err != nil || len(stops) != 1 || stops[0].Cause != gate.PausedQueue || stops[0].Queue != queue ||
		!strings.Contains(stops[0].String(), "Queue "+queue+" is paused since 20") {
		t.Fatalf("Stops() = %v, %v, want a paused queue", stops, err)
	}
	if _, err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if stops, err := b.Stops(t.Context()); err != nil || len(stops) != 0 {
		t.Errorf("Stops() after Start() = %v, %v, want none", stops, err)
	}
	if info, err := inspector.GetQueueInfo(queue); err != nil || info.Paused {
		t.Errorf("GetQueueInfo() = %+v, %v, want a queue that is not paused", info, err)
	}
}
