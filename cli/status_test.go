package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/enqueue"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
	"tiwsnap/tiw/tiwtest"
)

// enqueueBatches enqueues batches b-1 to b-n, of one room each.
func (s site) enqueueBatches(n int) redis.UniversalClient {
	s.Helper()
	c := s.client()
	client := enqueue.New(c, keys.Default)
	for i := range n {
		rooms := func(yield func(tasks.Room, error) bool) { yield(tasks.Room{SdkAppId: 1400123480, RoomId: 1}, nil) }
		if _, err := client.Batch(s.Context(), rooms, enqueue.BatchOptions{ID: fmt.Sprintf("b-%d", i+1)}); err != nil {
			s.Fatal(err)
		}
	}
	return c
}

type batchList struct {
	Batches []ledger.Batch
	More    *bool
}

func (s site) listBatches(args ...string) (all batchList, stderr string) {
	s.Helper()
	code, stdout, stderr := s.run("", append([]string{"status", "-o", "json"}, args...)...)
	if err := json.Unmarshal([]byte(stdout), &all); err != nil || code != exitOK || all.More == nil ||
		all.Batches == nil {
		s.Fatalf("status %v: exit code %d, %v, %+v\n%s", args, code, err, all, stdout)
	}
	return all, stderr
}

func batchIDs(all []ledger.Batch) (ids []string) {
	for _, b := range all {
		ids = append(ids, b.ID)
	}
	return ids
}

// status lists the batches of all pages, and reports an incomplete list.
func TestStatusListsAllBatches(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	if all, _ := s.listBatches(); len(all.Batches) != 0 || *all.More {
		t.Errorf("batches %+v, want none", all)
	}
	s.checkRun(exitOK, "no batches\n", "status")
	const n = batchPage + 84
	c := s.enqueueBatches(n)

	all, _ := s.listBatches()
	if len(all.Batches) != n || *all.More {
		t.Fatalf("%d batches, want %d; more: %t", len(all.Batches), n, *all.More)
	}
	seen := map[string]bool{}
	for i, b := range all.Batches {
		seen[b.ID] = true
		if i > 0 && b.CreatedAt.After(all.Batches[i-1].CreatedAt) {
			t.Fatalf("%s is listed after the older %s", b.ID, all.Batches[i-1].ID)
		}
	}
	if len(seen) != n {
		t.Errorf("%d different batches, want %d", len(seen), n)
	}
	if out := s.mustRun("status"); strings.Count(out, "\n") != n+1 || !strings.HasPrefix(out, "BATCH ") ||
		strings.Count(out, "IN PROGRESS") != 1 {
		t.Errorf("table has %d lines, want %d", strings.Count(out, "\n"), n+1)
	}
	if out := s.mustRun("status", "-o", "jsonl"); strings.Count(out, "\n") != n {
		t.Errorf("-o jsonl has %d lines, want %d", strings.Count(out, "\n"), n)
	}
	if _, rows := parseCSV(t, s.mustRun("status", "-o", "csv")); len(rows) != n {
		t.Errorf("-o csv has %d rows, want %d", len(rows), n)
	}

	newest, _ := s.listBatches("--limit", "10")
	if !slices.Equal(batchIDs(newest.Batches), batchIDs(all.Batches[:10])) || !*newest.More {
		t.Errorf("--limit 10: %v, more: %t", batchIDs(newest.Batches), *newest.More)
	}
	if exact, _ := s.listBatches("--limit", fmt.Sprint(n)); *exact.More {
		t.Error("more is true with --limit equal to the number of batches")
	}
	for _, output := range []string{"table", "jsonl", "csv"} {
		if code, _, stderr := s.run("", "status", "--limit", "10", "-o", output); code != exitOK ||
			stderr != noWorker+"only the newest 10 listed; list more with --limit\n" {
			t.Errorf("-o %s: exit code %d, %q", output, code, stderr)
		}
	}

	s.mustRun("pause", "b-3", "b-7")
	s.mustRun("cancel", "b-5")
	if got, _ := s.listBatches("--state", "paused"); len(got.Batches) != 2 || *got.More {
		t.Errorf("paused: %v", batchIDs(got.Batches))
	}
	if got, _ := s.listBatches("--state", "paused,canceled", "--limit", "2"); len(got.Batches) != 2 || !*got.More {
		t.Errorf("paused or canceled: %v", batchIDs(got.Batches))
	}
	if got, _ := s.listBatches("--state", "running"); len(got.Batches) != n-3 {
		t.Errorf("%d running batches, want %d", len(got.Batches), n-3)
	}
	s.checkRun(exitOK, "no batches match\n", "status", "--state", "ended")

	// The oldest half of the batches gets a creation time two days earlier.
	old := all.Batches[n/2:]
	for _, b := range old {
		at := b.CreatedAt.Add(-48 * time.Hour).UnixMilli()
		if err := errors.Join(
			c.HSet(t.Context(), keys.Default.Batch(b.ID), "created_at", at).Err(),
			c.ZAdd(t.Context(), keys.Default.Batches(), redis.Z{Score: float64(at), Member: b.ID}).Err(),
		); err != nil {
			t.Fatal(err)
		}
	}
	for _, since := range []string{"47h", time.Now().UTC().Add(-24 * time.Hour).Format(time.DateOnly),
		time.Now().Add(-time.Hour).Format(time.RFC3339)} {
		if got, _ := s.listBatches("--since", since); len(got.Batches) != n/2 || *got.More {
			t.Errorf("since %s: %d, want %d", since, len(got.Batches), n/2)
		}
	}
	for _, args := range [][]string{
		{"--since", "yesterday"}, {"--since", "-1h"}, {"--state", "runing"}, {"--limit", "-1"}, {"b-1", "--limit", "1"},
		{"--watch", "-o", "json"},
	} {
		s.checkRun(exitUsage, args[len(args)-2], append([]string{"status"}, args...)...)
	}
}

// The status of a batch shows how long it has been running, or how long it took.
func TestStatusShowsDurationOfBatch(t *testing.T) {
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	s.enqueueBatch("b", 1)
	running, took := regexp.MustCompile(`\nrunning for +(\d+m)?\d+s\n`), regexp.MustCompile(`\ntook +\S+s\n`)
	check := func(state string, isRunning, hasEnded bool) {
		t.Helper()
		out := s.mustRun("status", "b")
		if running.MatchString(out) != isRunning || took.MatchString(out) != hasEnded {
			t.Errorf("status of a %s batch: \"running for\" %t, want %t; \"took\" %t, want %t\n%s", state,
				running.MatchString(out), isRunning, took.MatchString(out), hasEnded, out)
		}
	}
	check("running", true, false)
	s.mustRun("pause", "b")
	check("paused", false, false)
	s.mustRun("cancel", "b")
	check("canceled", false, true)
}

// watchUntil runs status --watch until its output has the words, and returns it.
func (s site) watchUntil(words string, args ...string) (code int, text string) {
	ctx, cancel := context.WithTimeout(s.Context(), 30*time.Second)
	defer cancel()
	var mu sync.Mutex
	var b strings.Builder
	w := writerFunc(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		b.Write(p)
		if words != "" && strings.Contains(b.String(), words) {
			cancel()
		}
		return len(p), nil
	})
	code = run(
		ctx,
		append([]string{"status", "--watch"}, args...),
		env{strings.NewReader(""), w, w, variables(s.environ)},
	)
	return code, b.String()
}

func TestStatusWatch(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	t.Run("without a terminal: a line each time", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, tiwtest.Options{})
		s.enqueueBatches(3)
		s.mustRun("pause", "b-2")
		code, text := s.watchUntil("3 rooms: 3 queued, 0 in progress, 0 succeeded, 0 failed\n")
		if code != exitOK || !strings.Contains(text, " 3 batches: 2 running, 1 paused, 0 canceled, 0 ended; 3 rooms") ||
			strings.Contains(text, "\x1b") {
			t.Errorf("status: exit code %d, %q", code, text)
		}
		code, text = s.watchUntil(" newest 2 batches: ", "--limit", "2")
		if code != exitOK || strings.Count(strings.TrimPrefix(text, noWorker), "\n") != 1 {
			t.Errorf("status: exit code %d, %q", code, text)
		}
		s.checkRun(exitUsage, "there is no snapshot or batch none", "status", "none", "--watch")
	})

	t.Run("ends with the batch", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, tiwtest.Options{})
		s.enqueueBatch("b", 3)
		s.startWorker()
		code, text := s.watchUntil("", "b")
		if code != exitOK || !strings.HasSuffix(text, "b: ended, 3/3 done, 0 failed\n") {
			t.Errorf("status: exit code %d, %q", code, text)
		}
	})

	t.Run("on a terminal: redraws what fits", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, tiwtest.Options{})
		s.enqueueBatches(60)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		rounds := 0
		tty, read := terminal(t, writerFunc(func(p []byte) (int, error) {
			if rounds += bytes.Count(p, []byte("\x1b[2J")); rounds > 2 { // so that two rounds are complete
				cancel()
			}
			return len(p), nil
		}))
		if code := run(ctx, []string{"status", "--watch"},
			env{strings.NewReader(""), tty, tty, variables(s.environ)}); code != exitOK {
			t.Errorf("exit code %d", code)
		}
		shown := strings.Split(read(), "\x1b[H\x1b[2J")
		if len(shown) < 3 || shown[0] != "" {
			t.Fatalf("%d rounds: %q", len(shown)-1, shown)
		}
		for _, round := range shown[1:3] {
			if lines := strings.Count(round, "\n"); lines > 39 || lines < 36 ||
				!strings.Contains(round, "stop with Ctrl-C\n"+noWorker+"BATCH ") ||
				!strings.HasSuffix(round, "list more with --limit\n") {
				t.Errorf("%d lines: %s", lines, round)
			}
		}
	})

	t.Run("waits while Redis is unavailable", func(t *testing.T) {
		t.Parallel()
		server := redistest.Real(t)
		s := newSiteOn(t, server.URL(), tiwtest.Options{})
		s.enqueueBatches(1)
		var once sync.Once
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		defer cancel()
		var b strings.Builder
		w := writerFunc(func(p []byte) (int, error) {
			b.Write(p)
			once.Do(func() { server.Kill() })
			if strings.Contains(b.String(), "waiting: ") {
				cancel()
			}
			return len(p), nil
		})
		if code := run(ctx, []string{"status", "--watch"},
			env{strings.NewReader(""), w, w, variables(s.environ)}); code != exitOK ||
			!strings.Contains(b.String(), "waiting: Redis at ") {
			t.Errorf("status: exit code %d, %q", code, b.String())
		}
	})
}

func TestCanceledRoomsAreCounted(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	s.enqueueBatch("b", 3)
	s.mustRun("cancel", "b")
	if header, rows := parseCSV(t, s.mustRun("status", "-o", "csv")); rows[0][header["CANCELED"]] != "3" {
		t.Errorf("status lists %v %v, want 3 canceled", header, rows)
	}
	s.checkRun(exitOK, "CANCELED", "status")
	s.checkRun(exitFailed, "3/3 done, 0 failed, 3 canceled\n", "wait", "b")
	if code, text := s.watchUntil(
		"0 failed, 3 canceled\n",
	); code != exitOK ||
		!strings.Contains(text, " 1 batch: 0 running") {
		t.Errorf("status: exit code %d, %q", code, text)
	}
}
