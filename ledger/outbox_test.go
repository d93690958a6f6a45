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

func (f fixture) deleteNotices(notices []ledger.Notice) {
	f.Helper()
	if err := f.DeleteNotices(f.Context(), notices); err != nil {
		f.Fatal(err)
	}
}

func (f fixture) setNotifications(snapshots, batches bool) {
	f.Helper()
	if err := f.SetNotifications(f.Context(), snapshots, batches, false, false); err != nil {
		f.Fatal(err)
	}
}

// countNotices counts the notices by kind and id.
func countNotices(notices []ledger.Notice) map[string]int {
	count := make(map[string]int)
	for _, n := range notices {
		count[n.Kind+" "+n.ID]++
	}
	return count
}

// openWithNotifications returns an unfed batch in a ledger with notifications of each end.
func openWithNotifications(t *testing.T, total int) fixture {
	f := open(t, total)
	f.setNotifications(true, true)
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
		"is refused":                    func(f fixture) { f.fail(row(2), "InvalidParameter") },
		"is canceled before it is sent": func(f fixture) { f.cancel(row(2)) },
		"is canceled while it is sent": func(f fixture) {
			f.begin(row(2), "x")
			f.cancel(row(2))
			f.outcome(row(2), 1, throttled)
		},
		"is canceled with its batch": func(f fixture) { f.feed(2); f.cancelBatch(); f.begin(row(2), "x") },
		"is canceled with a lost request": func(f fixture) {
			f.begin(row(2), "x")
			f.cancel(row(2))
			f.backdate(row(2))
			f.begin(row(2), "y")
		},
		"is canceled with an unknown outcome": func(f fixture) {
			f.begin(row(2), "x")
			f.outcome(row(2), 1, unknown)
			f.cancel(row(2))
		},
	} {
		t.Run("are made once for each end if the last snapshot "+name, func(t *testing.T) {
			f := openWithNotifications(t, 2)
			f.fail(row(1), "InvalidParameter")
			end(f)
			notices := f.notices()
			want := map[string]int{"snapshot b.1": 1, "snapshot b.2": 1, "batch b": 1}
			if diff := cmp.Diff(want, countNotices(notices)); diff != "" {
				t.Errorf("notices (-want +got):\n%s", diff)
			}
			for _, n := range notices {
				if n.Kind == "batch" && !n.At.Equal(f.batch().EndedAt) {
					t.Errorf("notice of the batch is of %s, want %s", n.At, f.batch().EndedAt)
				}
			}
			f.begin(row(2), "late")
			f.deleteNotices(notices)
			if n := f.rdb.Exists(t.Context(), keys.Default.Outbox()).Val(); n != 0 {
				t.Error("the outbox is not empty")
			}
		})
	}

	t.Run("are made for a batch that is canceled before feeding", func(t *testing.T) {
		f := openWithNotifications(t, 3)
		f.cancelBatch()
		if diff := cmp.Diff(map[string]int{"batch b": 1}, countNotices(f.notices())); diff != "" {
			t.Errorf("notices (-want +got):\n%s", diff)
		}
	})

	t.Run("are returned again with the same time until they are deleted", func(t *testing.T) {
		f := openWithNotifications(t, 1)
		f.fail(row(1), "InvalidParameter")
		first := f.notices()
		if again := f.notices(); len(again) != 0 {
			t.Errorf("second TakeNotices() = %+v, want none", again)
		}
		for _, z := range f.rdb.ZRangeWithScores(t.Context(), keys.Default.Outbox(), 0, -1).Val() {
			f.rdb.ZIncrBy(t.Context(), keys.Default.Outbox(), -30_000, z.Member.(string)) // as if 30 s ago
		}
		if diff := cmp.Diff(first, f.notices()); diff != "" {
			t.Errorf("notices (-want +got):\n%s", diff)
		}
	})

	t.Run("of a second end differ from those of the first", func(t *testing.T) {
		f := openWithNotifications(t, 1)
		f.fail(row(1), "InvalidParameter")
		first := f.notices()
		f.retry(row(1))
		f.waitMilli()
		f.fail(row(1), "InvalidParameter")
		f.deleteNotices(first)
		second := f.notices()
		if diff := cmp.Diff(map[string]int{"snapshot b.1": 1, "batch b": 1}, countNotices(second)); diff != "" {
			t.Errorf("notices (-want +got):\n%s", diff)
		}
	})

	t.Run("go to the receiver of the batch", func(t *testing.T) {
		f := open(t, 1)
		f.rdb.HSet(t.Context(), keys.Default.Batch("b"), "webhook", "https://example.com/b")
		f.fail(row(1), "InvalidParameter")
		notices := f.notices()
		if len(notices) != 1 || notices[0].Kind != "batch" || notices[0].URL != "https://example.com/b" {
			t.Errorf("notices = %+v", notices)
		}
	})

	t.Run("are made of the kinds that are switched on", func(t *testing.T) {
		for _, test := range []struct {
			snapshots, batches bool
			want               map[string]int
		}{
			{true, false, map[string]int{"snapshot b.1": 1, "snapshot s-1": 1}},
			{false, true, map[string]int{"batch b": 1}},
			{false, false, map[string]int{}},
		} {
			f := openWithNotifications(t, 1)
			f.setNotifications(test.snapshots, test.batches)
			f.fail(row(1), "InvalidParameter")
			f.fail(single(1), "InvalidParameter")
			if diff := cmp.Diff(test.want, countNotices(f.notices())); diff != "" {
				t.Errorf("notices (-want +got):\n%s", diff)
			}
		}
	})

	t.Run("are not made without notifications", func(t *testing.T) {
		f := open(t, 1)
		f.fail(row(1), "InvalidParameter")
		if notices := f.notices(); len(notices) != 0 {
			t.Errorf("notices = %+v", notices)
		}
	})

	t.Run("expire, and so does the setting of notifications", func(t *testing.T) {
		f := openWithNotifications(t, 1)
		f.fail(row(1), "InvalidParameter")
		for _, key := range []string{keys.Default.Outbox(), keys.Default.Notifications()} {
			if ttl := f.rdb.TTL(t.Context(), key).Val(); ttl < 23*time.Hour || ttl > 48*time.Hour {
				t.Errorf("%s expires in %s, want 23 to 48 h", key, ttl)
			}
		}
	})
}
