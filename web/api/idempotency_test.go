package api_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"tiwsnap/web"
	"tiwsnap/web/api"
	"tiwsnap/web/webtest"
)

func TestConcurrentRequestsWithOneKey(t *testing.T) {
	s := webtest.NewService(t)
	body := webtest.List + "7,x\n"
	var all sync.WaitGroup
	var mu sync.Mutex
	ids, statuses := map[string]int{}, map[int]int{}
	for range 50 {
		all.Go(func() {
			r, err := s.Client.Do(s.Request("POST", "/v1/batches", body, "Content-Type", "text/csv", "Idempotency-Key",
				"lesson-7"))
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Body.Close()
			b, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			var got api.Enqueued
			if r.StatusCode == 202 {
				err = json.Unmarshal(b, &got)
			}
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			statuses[r.StatusCode]++
			ids[got.ID]++
		})
	}
	all.Wait()
	delete(ids, "")
	if len(ids) != 1 || statuses[202]+statuses[409] != 50 || s.Batches() != 1 {
		t.Errorf("statuses %v, ids %v, %d batches, want one batch", statuses, ids, s.Batches())
	}
	var replayed api.Enqueued
	r := s.Send("POST", "/v1/batches", body, "Content-Type", "text/csv", "Idempotency-Key", `"lesson-7"`).
		Want(202, &replayed)
	if ids[replayed.ID] == 0 || !replayed.Created || replayed.BadRows != 1 ||
		r.Header.Get("Idempotent-Replayed") != "true" ||
		r.Header.Get("Location") != "/v1/batches/"+replayed.ID {
		t.Errorf("repeated request: got %+v, header %v, want the first response, replayed", replayed, r.Header)
	}
}

func TestIdempotencyKeys(t *testing.T) {
	s := webtest.NewService(t)
	post := func(key, path, body string, header ...string) webtest.Reply {
		return s.Send("POST", path, body, append([]string{"Content-Type", "text/csv", "Idempotency-Key", key}, header...)...)
	}
	var first, other api.Enqueued
	post("k", "/v1/batches", webtest.List).Want(202, &first)

	t.Run("another request with the same key is rejected", func(t *testing.T) {
		s.T = t
		post("k", "/v1/batches", webtest.List+"7,3\n").Problem(422, "key-reused")
		post("k", "/v1/batches?strict=true", webtest.List).Problem(422, "key-reused")
		post("k", "/v1/batches", `{"SdkAppId":7,"RoomId":1}`, "Content-Type", "application/x-ndjson").
			Problem(422, "key-reused")
	})
	s.T = t
	t.Run("keys are separate for each principal and operation", func(t *testing.T) {
		s.T = t
		post("k", "/v1/batches", webtest.List, "Authorization", "Bearer "+s.Tokens[web.RoleProduce]).Want(202, &other)
		if other.ID == first.ID {
			t.Errorf("two principals got the same batch %s", first.ID)
		}
		var one, again api.EnqueuedSnapshot
		s.Send("POST", "/v1/snapshots", `{"SdkAppId":7,"RoomId":1}`, "Idempotency-Key", "k").Want(202, &one)
		s.Send("POST", "/v1/snapshots", `{"SdkAppId":7,"RoomId":1}`, "Idempotency-Key", "k").Want(202, &again)
		if one != again {
			t.Errorf("repeated request got %+v, want %+v", again, one)
		}
		s.Send("POST", "/v1/snapshots", `{"SdkAppId":7,"RoomId":2}`, "Idempotency-Key", "k").Problem(422, "key-reused")
	})
	s.T = t
	t.Run("a failed request can be retried", func(t *testing.T) {
		s.T = t
		post("f", "/v1/batches", "SdkAppId,RoomId\n7,x\n").Problem(422, "invalid")
		post("f", "/v1/batches", webtest.List).Want(202, nil)
	})
	s.T = t
	t.Run("a request in flight is not repeated", func(t *testing.T) {
		s.T = t
		body, half := io.Pipe()
		r := s.Request("POST", "/v1/batches", "", "Content-Type", "text/csv", "Idempotency-Key", "slow")
		r.Body, r.ContentLength = body, -1
		responses := make(chan *http.Response, 1)
		go func() {
			resp, err := s.Client.Do(r)
			if err != nil {
				t.Error(err)
			}
			responses <- resp
		}()
		// The write returns when the transport has read it. The request is in flight when its key has an owner.
		io.WriteString(half, "SdkAppId,RoomId\n")
		s.Until(func() bool {
			keys, err := s.Redis.Keys(t.Context(), "{tiwsnap}:idempotency:*").Result()
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range keys {
				if s.Redis.HExists(t.Context(), k, "owner").Val() {
					return true
				}
			}
			return false
		})
		post("slow", "/v1/batches", "SdkAppId,RoomId\n7,9\n").Problem(409, "key-in-flight")
		io.WriteString(half, "7,9\n")
		half.Close()
		if resp := <-responses; resp != nil {
			resp.Body.Close()
			if resp.StatusCode != 202 {
				t.Errorf("first request: status %d, want 202", resp.StatusCode)
			}
		}
		post("slow", "/v1/batches", "SdkAppId,RoomId\n7,9\n").Want(202, nil)
	})
	s.T = t
	t.Run("after a crash before the response, the retry gets the same batch", func(t *testing.T) {
		s.T = t
		crash := func(response string) {
			keys, err := s.Redis.Keys(t.Context(), "{tiwsnap}:idempotency:*").Result()
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range keys {
				if strings.Contains(s.Redis.HGet(t.Context(), k, "body").Val(), response) {
					s.Redis.HDel(t.Context(), k, "status", "sum", "location", "body")
					s.Redis.HSet(t.Context(), k, "owner", "crashed", "until", 1)
				}
			}
		}
		var before, after api.Enqueued
		post("dead", "/v1/batches", webtest.List).Want(202, &before)
		n := s.Batches()
		crash(before.ID)
		post("dead", "/v1/batches", webtest.List+"7,3\n").Problem(422, "key-reused")
		post("dead", "/v1/batches", webtest.List).Want(202, &after)
		if after.ID != before.ID || !after.Created || s.Batches() != n {
			t.Errorf("batch after the crash is %+v, want %+v", after, before)
		}

		var one, again api.EnqueuedSnapshot
		room := func(more string) webtest.Reply {
			return s.Send("POST", "/v1/snapshots", `{"SdkAppId":7,"RoomId":1`+more+`}`, "Idempotency-Key", "dead")
		}
		room("").Want(202, &one)
		crash(one.ID)
		room(`,"SnapshotMode":"AllMarks"`).Problem(422, "key-reused")
		room("").Want(202, &again)
		if one != again {
			t.Errorf("snapshot after the crash is %+v, want %+v", again, one)
		}
	})
}

func TestBatchNames(t *testing.T) {
	s := webtest.NewService(t)
	post := func(path, body string) webtest.Reply { return s.Send("POST", path, body, "Content-Type", "text/csv") }
	var one, two api.Enqueued
	post("/v1/batches?name=monday", webtest.List).Want(202, &one)
	post("/v1/batches?name=monday", webtest.List).Want(200, &two)
	if one.ID != "monday" || two.ID != "monday" || !one.Created || two.Created {
		t.Errorf("got %+v, then %+v, want monday, created once", one, two)
	}
	post("/v1/batches?name=monday", webtest.List+"7,3\n").Problem(409, "exists")
	post("/v1/batches", webtest.List).Want(202, &one)
	post("/v1/batches", webtest.List).Want(202, &two)
	if one.ID == two.ID || !two.Created {
		t.Errorf("without a name or a key: got %+v, then %+v, want two batches", one, two)
	}
}
