package web_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tiwsnap/results"
	"tiwsnap/web"
)

// permutations calls f with every order of the members.
func permutations(members []string, f func([]string)) {
	var from func(n int)
	from = func(n int) {
		if n == len(members) {
			f(members)
			return
		}
		for i := n; i < len(members); i++ {
			members[n], members[i] = members[i], members[n]
			from(n + 1)
			members[n], members[i] = members[i], members[n]
		}
	}
	from(0)
}

// The members of a JSON object have no order: each one makes the same batch.
func TestMembersInAnyOrder(t *testing.T) {
	s := newService(t, func(o *web.APIOptions) { o.CheckWebhook = func(string) error { return nil } })
	n := 0
	permutations([]string{
		`"name":%q`, `"strict":true`, `"webhook":"https://a.example/x"`,
		`"defaults":{"SdkAppId":7,"SnapshotMode":"AllMarks"}`,
		`"rooms":[{"RoomId":1},{"RoomId":2,"SnapshotMode":"LatestMarksOnly"}]`,
	}, func(members []string) {
		n++
		name := fmt.Sprintf("order-%d", n)
		body := fmt.Sprintf("{"+strings.Join(members, ",\n ")+"}", name)
		var got web.Enqueued
		s.send("POST", "/v1/batches", body, "Content-Type", "application/json").want(http.StatusAccepted, &got)
		if got.ID != name || got.Rooms != 2 {
			t.Fatalf("%+v of %s", got, body)
		}
		if n%10 != 0 {
			return
		}
		var batch web.Batch
		s.send("GET", "/v1/batches/"+name, "").want(200, &batch)
		var one results.Result
		s.send("GET", "/v1/snapshots/"+name+".2", "").want(200, &one)
		if batch.Webhook != "https://a.example" || one.Room.SdkAppId != 7 || one.Room.SnapshotMode != "LatestMarksOnly" {
			t.Errorf("%+v, %+v of %s", batch, one, body)
		}
	})
}

// Rooms that come before the rest lie in a temporary file, of which nothing is
// left whatever becomes of the list.
func TestNoTemporaryFileIsLeft(t *testing.T) {
	s := newService(t)
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	var list strings.Builder
	for id := range 30_000 { // 0.7 MB
		fmt.Fprintf(&list, `,{"RoomId":%d,"Label":{}}`, id+1)
	}
	rooms := `{"rooms":[` + list.String()[1:] + `]`
	send := func(name, rest string) reply {
		return s.send("POST", "/v1/batches?name="+name, rooms+rest, "Content-Type", "application/json")
	}
	var got web.Enqueued
	send("good", `,"defaults":{"SdkAppId":7}}`).want(http.StatusAccepted, &got)
	if got.Rooms != 30_000 {
		t.Errorf("%+v", got)
	}
	send("good", `,"defaults":{"SdkAppId":8}}`).problem(http.StatusConflict, "exists")
	send("bad", `}`).problem(422, "invalid")
	send("bad", `,"defaults":`).problem(422, "invalid")
	send("bad", `,"defaults":{"SdkAppId":7},"rom":1}`).problem(422, "invalid")
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("there is left %v, %v", left, err)
	}
	t.Setenv("TMPDIR", filepath.Join(dir, "none"))
	p := send("nowhere", `,"defaults":{"SdkAppId":7}}`).problem(http.StatusInsufficientStorage, "no-disk")
	if !strings.Contains(p.Detail, "send JSON lines") {
		t.Errorf("it does not say what to do: %s", p.Detail)
	}
	if s.batches() != 1 {
		t.Errorf("%d batches", s.batches())
	}
}
