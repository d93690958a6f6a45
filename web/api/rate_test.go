package api_test

import (
	"testing"
	"time"

	"tiwsnap/internal/keys"
	"tiwsnap/web/api"
	"tiwsnap/web/webtest"
)

// A batch that is retried long after its start gets no estimate of the time left. Its average rate says nothing about
// the present.
func TestTimeLeftAfterLateRetry(t *testing.T) {
	s := webtest.NewService(t)
	s.Send("POST", "/v1/batches?name=b&SdkAppId=7", "RoomId\n1\n2\n3\n", "Content-Type", "text/csv").Want(202, nil)
	s.Redis.HSet(t.Context(), keys.Default.Batch("b"), "created_at", time.Now().Add(-48*time.Hour).UnixMilli(),
		"succeeded", 2)
	var b api.Batch
	s.Send("GET", "/v1/batches/b", "").Want(200, &b)
	if b.Rate != 0 || b.Left != 0 || b.Succeeded != 2 {
		t.Errorf("batch is %+v, want neither rate nor time left", b)
	}
}
