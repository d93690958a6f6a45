package ledger_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/backlog"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
)

func (f fixture) find(word string, limit int) (ids []string, more bool) {
	f.Helper()
	found, err := f.Find(f.Context(), word, limit, "")
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range found.Snapshots {
		ids = append(ids, s.ID)
	}
	slices.Sort(ids)
	return ids, found.More || found.Next != ""
}

func TestFind(t *testing.T) {
	needs.Time(t)
	f := setup(t, 1)
	load := backlog.New(f.rdb, keys.Default).Load(tasks.Room{SdkAppId: 1, Label: map[string]string{"School": "No. 3"}})
	const rooms = 1500
	for n := range rooms {
		room := tasks.Room{RoomId: uint64(70_000 + n), Label: map[string]string{"Class": fmt.Sprintf("三年级 <%d>", n%500)}}
		if err := load.Add(t.Context(), &room); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := load.Seal(t.Context(), "school", ""); err != nil {
		t.Fatal(err)
	}
	payload := func(n int) tasks.SnapshotPayload {
		return tasks.SnapshotPayload{ID: tasks.RowID("school", n), Batch: "school", Room: tasks.Room{
			SdkAppId: 1, RoomId: uint64(70_000 + n - 1),
			Label: map[string]string{"School": "No. 3", "Class": fmt.Sprintf("三年级 <%d>", (n-1)%500)},
		}}
	}
	one := single(7)
	one.Room.Label = map[string]string{"Class": "三年级 <3>"}
	f.begin(one, "x")
	f.outcome(one, 1, ledger.Outcome{State: ledger.Queued, RequestID: "r-first", Code: "RequestLimitExceeded"})
	f.begin(one, "y")
	f.outcome(one, 2, accepted("t-one"))
	f.settle(one, "t-one", ledger.Succeeded)

	wantFound := func(when string, want map[string][]string) {
		t.Helper()
		for word, ids := range want {
			got, more := f.find(word, 10)
			if diff := cmp.Diff(ids, got); diff != "" || more {
				t.Errorf("%s: Find(%q), more %t (-want +got):\n%s", when, word, more, diff)
			}
		}
	}
	wantFound("while the batch is queued", map[string][]string{
		"70003": {"school.4"}, "三年级 <3>": {one.ID, "school.1004", "school.4", "school.504"}, "r-first": {one.ID},
		"r-t-one": {one.ID},
		"t-one":   {one.ID}, "7": {one.ID}, "7000": nil, "Class": nil, "": nil,
	})
	if ids, more := f.find("No. 3", 10); len(ids) != 10 || !more {
		t.Errorf("Find() returned %d snapshots, more %t, want 10 of 1500", len(ids), more)
	}

	// All but the last 100 rooms are begun, and each has an answer.
	f.rdb.HSet(t.Context(), "{tiwsnap}:batch:school", "fed", rooms-100)
	for n := 1; n <= rooms-100; n++ {
		f.begin(payload(n), "x")
		f.outcome(payload(n), 1, accepted(fmt.Sprintf("task-%d", n)))
	}
	f.settle(payload(4), "task-4", ledger.Failed)
	f.pack()
	wantFound("while it is in progress", map[string][]string{
		"70003": {"school.4"}, "三年级 <3>": {one.ID, "school.1004", "school.4", "school.504"}, "r-task-4": {"school.4"},
		"task-1300": {"school.1300"}, "r-task-1300": {"school.1300"}, "71499": {"school.1500"}, "70000": {"school.1"},
	})
	if ids, more := f.find("No. 3", 10); len(ids) != 10 || !more {
		t.Errorf("Find() returned %d snapshots, more %t, want 10 of 1500", len(ids), more)
	}
}
