package ledger_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/internal/keys"
	"tiwsnap/ledger"
)

func (f fixture) notices() []ledger.Notice {
	f.Helper()
	notices, err := f.TakeNotices(f.Context(), 100)
	if err != nil {
		f.Fatal(err)
	}
	return notices
}

func (f fixture) announced(notices []ledger.Notice) {
	f.Helper()
	if err := f.DeleteNotices(f.Context(), notices); err != nil {
		f.Fatal(err)
	}
}

func (f fixture) tell(snapshots, batches bool) {
	f.Helper()
	if err := f.SetNotifications(f.Context(), snapshots, batches, false, false); err != nil {
		f.Fatal(err)
	}
}

// told counts the notices by kind and id.
func told(notices []ledger.Notice) map[string]int {
	count := make(map[string]int)
	for _, n := range notices {
		count[n.Kind+" "+n.ID]++
	}
	return count
}

// telling returns an unfed batch in a ledger with notifications of each end.
func telling(t *testing.T, total int) fixture {
	f := open(t, total)
	f.tell(true, true)
	return f
}

func TestNotices(t *testing.T) {
	for name, end := range map[string]func(f fixture){
		"succeeds": func(f fixture) {
			f.begin(row(2), "x")
			f.outcome(row(2), 1, accepted("t2"))
			f.settle(row(2), "t2", ledger.Succeeded)
		},
		"fails after its acceptance": func(f fixture) {
			f.begin(row(2), "x")
			f.outcome(row(2), 1, accepted("t2"))
			f.settle(row(2), "t2", ledger.Failed)
		},
		"is refused":            func(f fixture) { f.fail(row(2), "InvalidParameter") },
		"is canceled before it": func(f fixture) { f.cancel(row(2)) },
		"is canceled while it": func(f fixture) {
			f.begin(row(2), "x")
			f.cancel(row(2))
			f.outcome(row(2), 1, throttled)
		},
		"is canceled with all": func(f fixture) { f.feed(2); f.cancelBatch(); f.begin(row(2), "x") },
		"is canceled cut off": func(f fixture) {
			f.begin(row(2), "x")
			f.cancel(row(2))
			f.cutOff(row(2))
			f.begin(row(2), "y")
		},
		"is canceled when unknown": func(f fixture) { f.begin(row(2), "x"); f.outcome(row(2), 1, unknown); f.cancel(row(2)) },
	} {
		t.Run("come once for each end where the last snapshot "+name, func(t *testing.T) {
			f := telling(t, 2)
			f.fail(row(1), "InvalidParameter")
			end(f)
			notices := f.notices()
			if diff := cmp.Diff(map[string]int{"snapshot b.1": 1, "snapshot b.2": 1, "batch b": 1}, told(notices)); diff != "" {
				t.Error(diff)
			}
			for _, n := range notices {
				if n.Kind == "batch" && !n.At.Equal(f.batch().EndedAt) {
					t.Errorf("told that it ended at %s, it did at %s", n.At, f.batch().EndedAt)
				}
			}
			f.begin(row(2), "late")
			f.announced(notices)
			if n := f.rdb.Exists(t.Context(), keys.Default.Outbox()).Val(); n != 0 {
				t.Error("some are left")
			}
		})
	}

	t.Run("come for a batch that is canceled as a whole", func(t *testing.T) {
		f := telling(t, 3)
		f.cancelBatch()
		if diff := cmp.Diff(map[string]int{"batch b": 1}, told(f.notices())); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("come again with the same time until they were handed on", func(t *testing.T) {
		f := telling(t, 1)
		f.fail(row(1), "InvalidParameter")
		first := f.notices()
		if again := f.notices(); len(again) != 0 {
			t.Errorf("handed out twice: %+v", again)
		}
		for _, z := range f.rdb.ZRangeWithScores(t.Context(), keys.Default.Outbox(), 0, -1).Val() {
			f.rdb.ZIncrBy(t.Context(), keys.Default.Outbox(), -30_000, z.Member.(string)) // as if 30 s ago
		}
		if diff := cmp.Diff(first, f.notices()); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("of a second end are not taken for those of the first", func(t *testing.T) {
		f := telling(t, 1)
		f.fail(row(1), "InvalidParameter")
		first := f.notices()
		f.retry(row(1))
		f.waitMilli()
		f.fail(row(1), "InvalidParameter")
		f.announced(first)
		second := f.notices()
		if diff := cmp.Diff(map[string]int{"snapshot b.1": 1, "batch b": 1}, told(second)); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("go to the receiver of the batch", func(t *testing.T) {
		f := open(t, 1)
		f.rdb.HSet(t.Context(), keys.Default.Batch("b"), "webhook", "https://example.com/b")
		f.fail(row(1), "InvalidParameter")
		notices := f.notices()
		if len(notices) != 1 || notices[0].Kind != "batch" || notices[0].URL != "https://example.com/b" {
			t.Errorf("%+v", notices)
		}
	})

	t.Run("are made of what somebody wants to be told", func(t *testing.T) {
		for _, test := range []struct {
			snapshots, batches bool
			want               map[string]int
		}{
			{true, false, map[string]int{"snapshot b.1": 1, "snapshot s-1": 1}},
			{false, true, map[string]int{"batch b": 1}},
			{false, false, map[string]int{}},
		} {
			f := telling(t, 1)
			f.tell(test.snapshots, test.batches)
			f.fail(row(1), "InvalidParameter")
			f.fail(single(1), "InvalidParameter")
			if diff := cmp.Diff(test.want, told(f.notices())); diff != "" {
				t.Error(diff)
			}
		}
	})

	t.Run("are not made where nobody tells", func(t *testing.T) {
		f := open(t, 1)
		f.fail(row(1), "InvalidParameter")
		if notices := f.notices(); len(notices) != 0 {
			t.Errorf("%+v", notices)
		}
	})

	t.Run("do not stay for ever, nor does the wish for them", func(t *testing.T) {
		f := telling(t, 1)
		f.fail(row(1), "InvalidParameter")
		for _, key := range []string{keys.Default.Outbox(), keys.Default.Notifications()} {
			if ttl := f.rdb.TTL(t.Context(), key).Val(); ttl < 23*time.Hour || ttl > 48*time.Hour {
				t.Errorf("%s expires in %s", key, ttl)
			}
		}
	})
}

// waitMilli waits for the next millisecond of the clock of Redis.
func (f fixture) waitMilli() {
	for start := f.now(); f.now() == start; {
	}
}

func (f fixture) now() int64 {
	f.Helper()
	now, err := f.rdb.Time(f.Context()).Result()
	if err != nil {
		f.Fatal(err)
	}
	return now.UnixMilli()
}
