package ledger_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/keys"
	"tiwsnap/ledger"
)

func TestLifecycle(t *testing.T) {
	f := setup(t, 2)
	p := row(1)
	f.rdb.ZAdd(t.Context(), keys.Default.InFlight(), redis.Z{Score: 1, Member: p.ID})

	if in := f.begin(p, "x"); in.Verdict != ledger.Send || in.Attempt != 1 || in.Failures != 0 {
		t.Fatalf("first Begin() = %+v", in)
	}
	if n := f.rdb.ZCard(t.Context(), keys.Default.InFlight()).Val(); n != 0 {
		t.Error("the snapshot is still in flight after Begin()")
	}
	if b := f.batch(); b.Sending != 1 || b.Queued != 1 {
		t.Errorf("batch while sending = %+v", b)
	}
	f.outcome(p, 1, accepted("t1"))
	if b := f.batch(); b.Sending != 0 || b.Accepted != 1 {
		t.Errorf("batch after acceptance = %+v", b)
	}

	due := f.due()
	if len(due) != 1 || due[0].TaskID != "t1" {
		t.Fatalf("due = %+v", due)
	}
	if again := f.due(); len(again) != 0 {
		t.Errorf("second Poll() = %v, want none", again)
	}
	if ms := f.rdb.ZScore(t.Context(), keys.Default.Confirm(),
		due[0].ID).Val(); time.Until(time.UnixMilli(int64(ms))) < 25*time.Second {
		t.Errorf("the next poll is at %s, want in 25 s or later", time.UnixMilli(int64(ms)))
	}
	images := []string{"http://h/1.png", "http://h/2.png"}
	if err := f.Settle(t.Context(), due[0].ID, "t1", ledger.Result{State: ledger.Succeeded, Images: images}); err != nil {
		t.Fatal(err)
	}

	s := f.record(p)
	if s.State != ledger.Succeeded || s.TaskID != "t1" || s.RequestID != "r-t1" || s.Attempts != 1 ||
		s.EndedAt.IsZero() || s.Room.RoomId != 1 || !cmp.Equal(s.Images, images) {
		t.Errorf("record at the end = %+v", s)
	}
	if b := f.batch(); b.Succeeded != 1 || b.Images != 2 || b.Ended() {
		t.Errorf("batch with one of two ended = %+v", b)
	}
	if in := f.begin(p, "y"); in.Verdict != ledger.Done {
		t.Errorf("Begin() after the end = %+v", in)
	}

	f.begin(row(2), "x")
	f.outcome(row(2), 1, ledger.Outcome{State: ledger.Failed, Code: "InvalidParameter"})
	if b := f.batch(); b.Failed != 1 || !b.Ended() || b.Queued != 0 {
		t.Errorf("batch at its end = %+v", b)
	}
	if n := f.rdb.ZCard(t.Context(), keys.Default.Open()).Val() +
		f.rdb.ZCard(t.Context(), keys.Default.Confirm()).Val(); n != 0 {
		t.Errorf("%d entries in the sets of work in progress, want none", n)
	}
}
