package gate_test

import (
	"fmt"
	"testing"

	"github.com/redis/go-redis/v9"

	"tiwsnap/gate"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
)

// A report in the caller's pipeline counts once, even if Redis does not have the script yet.
func TestReportInAPipeline(t *testing.T) {
	needs.Time(t)
	f := setup(t)
	for want := range 3 {
		permit := f.create(fmt.Sprint("room-", want))
		pipe := f.rdb.Pipeline()
		permit.Report(t.Context(), pipe, "task")
		_, err := pipe.Exec(t.Context())
		if first := redis.HasErrorPrefix(err, "NOSCRIPT"); first != (want == 0) {
			t.Fatalf("call %d: error = %v, want NOSCRIPT: %t", want, err, want == 0)
		}
		if verdict := f.end(permit, nil); verdict != gate.Room {
			t.Errorf("call %d: verdict = %s, want %s", want, verdict, gate.Room)
		}
		if n, err := f.rdb.HGet(t.Context(), keys.Default.Gate(), "accepted").Int(); n != want+1 || err != nil {
			t.Errorf("call %d: accepted = %d, %v, want %d", want, n, err, want+1)
		}
	}
}
