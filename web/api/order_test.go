package api_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tiwsnap/results"
	"tiwsnap/web/api"
	"tiwsnap/web/webtest"
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

// The members of a JSON object have no order: every permutation makes the same batch.
func TestMembersInAnyOrder(t *testing.T) {
	s := webtest.NewService(t, func(o *api.Options) { o.CheckWebhook = func(string) error { return nil } })
	n := 0
	permutations([]string{
		`"name":%q`, `"strict":true`, `"webhook":"https://a.example/x"`,
		`"defaults":{"SdkAppId":7,"SnapshotMode":"AllMarks"}`,
		`"rooms":[{"RoomId":1},{"RoomId":2,"SnapshotMode":"LatestMarksOnly"}]`,
	}, func(members []string) {
		n++
		name := fmt.Sprintf("order-%d", n)
		body := fmt.Sprintf("{"+strings.Join(members, ",\n ")+"}", name)
		var got api.Enqueued
		s.Send("POST", "/v1/batches", body, "Content-Type", "application/json").Want(http.StatusAccepted, &got)
		if got.ID != name || got.Rooms != 2 {
			t.Fatalf("POST of %s = %+v, want 2 rooms in %s", body, got, name)
		}
		if n%10 != 0 {
			return
		}
		var batch api.Batch
		s.Send("GET", "/v1/batches/"+name, "").Want(200, &batch)
		var one results.Result
		s.Send("GET", "/v1/snapshots/"+name+".2", "").Want(200, &one)
		if batch.Webhook != "https://a.example" || one.Room.SdkAppId != 7 || one.Room.SnapshotMode != "LatestMarksOnly" {
			t.Errorf("POST of %s created %+v with %+v", body, batch, one)
		}
	})
}

// Rooms that come before the defaults are buffered in a temporary file. The file is removed whether the list succeeds
// or fails.
func TestTemporaryFiles(t *testing.T) {
	s := webtest.NewService(t)
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	var list strings.Builder
	for id := range 30_000 { // 0.7 MB
		fmt.Fprintf(&list, `,{"RoomId":%d,"Label":{}}`, id+1)
	}
	rooms := `{"rooms":[` + list.String()[1:] + `]`
	send := func(name, rest string) webtest.Reply {
		return s.Send("POST", "/v1/batches?name="+name, rooms+rest, "Content-Type", "application/json")
	}
	var got api.Enqueued
	send("good", `,"defaults":{"SdkAppId":7}}`).Want(http.StatusAccepted, &got)
	if got.Rooms != 30_000 {
		t.Errorf("got %+v, want 30,000 rooms", got)
	}
	send("good", `,"defaults":{"SdkAppId":8}}`).Problem(http.StatusConflict, "exists")
	send("bad", `}`).Problem(422, "invalid")
	send("bad", `,"defaults":`).Problem(422, "invalid")
	send("bad", `,"defaults":{"SdkAppId":7},"rom":1}`).Problem(422, "invalid")
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("temporary files are left: %v, %v", left, err)
	}
	t.Setenv("TMPDIR", filepath.Join(dir, "none"))
	p := send("nowhere", `,"defaults":{"SdkAppId":7}}`).Problem(http.StatusInsufficientStorage, "no-disk")
	if !strings.Contains(p.Detail, "send JSON lines") {
		t.Errorf("the problem does not name the fix: %s", p.Detail)
	}
	if s.Batches() != 1 {
		t.Errorf("there are %d batches, want 1", s.Batches())
	}
}
