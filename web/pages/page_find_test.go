package pages_test

import (
	"html"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"tiwsnap/enqueue"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/redistest"
	"tiwsnap/tasks"
	"tiwsnap/web/webtest"
)

// If many rooms have a label the page shows some, says how many it has searched, and links to the next ones.
func TestFindPageLinksToMoreResults(t *testing.T) {
	rdb := redistest.Client(t)
	const rooms = 150
	_, err := enqueue.New(rdb, keys.Default).Batch(t.Context(), func(yield func(tasks.Room, error) bool) {
		for n := range uint64(rooms) {
			if !yield(tasks.Room{SdkAppId: 7, RoomId: 1000 + n, Label: map[string]string{"Class": "3 & b"}}, nil) {
				return
			}
		}
	}, enqueue.BatchOptions{ID: "b"})
	if err != nil {
		t.Fatal(err)
	}
	h := webtest.NewPages(t, rdb)
	next := regexp.MustCompile(`href="([^"]*cursor=[^"]*)"`)
	found := map[string]bool{}
	pages := 0
	for url := "/find?q=3+%26+b"; url != "" && pages < 5; pages++ {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "http://127.0.0.1"+url, nil)
		r.RemoteAddr = "127.0.0.1:1"
		r.Header.Set("Accept", "text/html")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		body := w.Body.String()
		if w.Code != 200 {
			t.Fatalf("GET %s: status %d, want 200:\n%s", url, w.Code, body)
		}
		for _, m := range regexp.MustCompile(`/snapshots/(b\.\d+)"`).FindAllStringSubmatch(body, -1) {
			found[m[1]] = true
		}
		url = ""
		if m := next.FindStringSubmatch(body); m != nil {
			url = html.UnescapeString(m[1])
			if !strings.Contains(body, "Queued rooms searched: 100 of 150.") {
				t.Errorf("the page lacks the number of searched rooms:\n%s", body)
			}
		}
	}
	if len(found) != rooms || pages != 2 {
		t.Errorf("found %d rooms on %d pages, want %d on 2", len(found), pages, rooms)
	}
}
