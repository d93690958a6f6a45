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

// many enqueues batches b-1 to b-n, of one room each.
func (s site) many(n int) redis.UniversalClient {
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

func (s site) list(args ...string) (all batchList, stderr string) {
	s.Helper()
	code, stdout, stderr := s.run("", append([]string{"status", "-o", "json"}, args...)...)
	if err := json.Unmarshal([]byte(stdout), &all); err != nil || code != exitOK || all.More == nil ||
		all.Batches == nil {
		s.Fatalf("%v: exit %d, %v, %+v\n%s", args, code, err, all, stdout)
	}
	return all, stderr
}

func ids(all []ledger.Batch) (ids []string) {
	for _, b := range all {
		ids = append(ids, b.ID)
	}
	return ids
}

// status lists the batches of all pages. It says so if the list is incomplete.
func TestStatusListsAllBatches(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	if all, _ := s.list(); len(all.Batches) != 0 || *all.More {
		t.Errorf("%+v", all)
	}
	s.says(exitOK, "no batches\n", "status")
	const n = batchPage + 84
	c := s.many(n)

	all, _ := s.list()
	if len(all.Batches) != n || *all.More {
		t.Fatalf("%d of %d batches, more: %t", len(all.Batches), n, *all.More)
	}
	seen := map[string]bool{}
	for i, b := range all.Batches {
		seen[b.ID] = true
		if i > 0 && b.CreatedAt.After(all.Batches[i-1].CreatedAt) {
			t.Fatalf("%s is listed after the older %s", b.ID, all.Batches[i-1].ID)
		}
	}
	if len(seen) != n {
		t.Errorf("%d different ones", len(seen))
	}
	if out := s.ok("status"); strings.Count(out, "\n") != n+1 || !strings.HasPrefix(out, "BATCH ") ||
		strings.Count(out, "IN PROGRESS") != 1 {
		t.Errorf("%d lines", strings.Count(out, "\n"))
	}
	if out := s.ok("status", "-o", "jsonl"); strings.Count(out, "\n") != n {
		t.Errorf("%d lines of JSON", strings.Count(out, "\n"))
	}
	if _, rows := table(t, s.ok("status", "-o", "csv")); len(rows) != n {
		t.Errorf("%d rows of CSV", len(rows))
	}

	newest, _ := s.list("--limit", "10")
	if !slices.Equal(ids(newest.Batches), ids(all.Batches[:10])) || !*newest.More {
		t.Errorf("%v, more: %t", ids(newest.Batches), *newest.More)
	}
	if exact, _ := s.list("--limit", fmt.Sprint(n)); *exact.More {
		t.Error("there are more, with a limit of as many as there are")
	}
	for _, output := range []string{"table", "jsonl", "csv"} {
		if code, _, stderr := s.run("", "status", "--limit", "10", "-o", output); code != exitOK ||
			stderr != noWorker+"only the newest 10 listed; list more with --limit\n" {
			t.Errorf("-o %s: exit %d, %q", output, code, stderr)
		}
	}

	s.ok("pause", "b-3", "b-7")
	s.ok("cancel", "b-5")
	if got, _ := s.list("--state", "paused"); len(got.Batches) != 2 || *got.More {
		t.Errorf("paused: %v", ids(got.Batches))
	}
	if got, _ := s.list("--state", "paused,canceled", "--limit", "2"); len(got.Batches) != 2 || !*got.More {
		t.Errorf("paused or canceled: %v", ids(got.Batches))
	}
	if got, _ := s.list("--state", "running"); len(got.Batches) != n-3 {
		t.Errorf("%d running", len(got.Batches))
	}
	s.says(exitOK, "no batches match\n", "status", "--state", "ended")

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
		if got, _ := s.list("--since", since); len(got.Batches) != n/2 || *got.More {
			t.Errorf("since %s: %d, want %d", since, len(got.Batches), n/2)
		}
	}
	for _, args := range [][]string{
		{"--since", "yesterday"}, {"--since", "-1h"}, {"--state", "runing"}, {"--limit", "-1"}, {"b-1", "--limit", "1"},
		{"--watch", "-o", "json"},
	} {
		s.says(exitUsage, args[len(args)-2], append([]string{"status"}, args...)...)
	}
}

// The status of a batch shows how long it has been running, or how long it took.
func TestStatusShowsDurationOfBatch(t *testing.T) {
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	s.batch("b", 1)
	running, took := regexp.MustCompile(`\nrunning for +(\d+m)?\d+s\n`), regexp.MustCompile(`\ntook +\S+s\n`)
	check := func(state string, isRunning, hasEnded bool) {
		t.Helper()
		out := s.ok("status", "b")
		if running.MatchString(out) != isRunning || took.MatchString(out) != hasEnded {
			t.Errorf("status of a %s batch: \"running for\" %t, want %t; \"took\" %t, want %t\n%s", state,
				running.MatchString(out), isRunning, took.MatchString(out), hasEnded, out)
		}
	}
	check("running", true, false)
	s.ok("pause", "b")
	check("paused", false, false)
	s.ok("cancel", "b")
	check("canceled", false, true)
}

// watching runs status --watch until its output has the words, and returns it.
func (s site) watching(words string, args ...string) (code int, text string) {
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
	t.Run("prints a line each round where there is no terminal", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, tiwtest.Options{})
		s.many(3)
		s.ok("pause", "b-2")
		code, text := s.watching("3 rooms: 3 queued, 0 in progress, 0 succeeded, 0 failed\n")
		if code != exitOK || !strings.Contains(text, " 3 batches: 2 running, 1 paused, 0 canceled, 0 ended; 3 rooms") ||
			strings.Contains(text, "\x1b") {
			t.Errorf("exit %d, %q", code, text)
		}
		code, text = s.watching(" newest 2 batches: ", "--limit", "2")
		if code != exitOK || strings.Count(strings.TrimPrefix(text, noWorker), "\n") != 1 {
			t.Errorf("exit %d, %q", code, text)
		}
		s.says(exitUsage, "there is no snapshot or batch none", "status", "none", "--watch")
	})

	t.Run("ends with the batch", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, tiwtest.Options{})
		s.batch("b", 3)
		s.worker()
		code, text := s.watching("", "b")
		if code != exitOK || !strings.HasSuffix(text, "b: ended, 3/3 done, 0 failed\n") {
			t.Errorf("exit %d, %q", code, text)
		}
	})

	t.Run("redraws on a terminal, as much as it has room for", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, tiwtest.Options{})
		s.many(60)
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

	t.Run("waits where Redis goes away", func(t *testing.T) {
		t.Parallel()
		server := redistest.Real(t)
		s := newSiteOn(t, server.URL(), tiwtest.Options{})
		s.many(1)
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
			t.Errorf("exit %d, %q", code, b.String())
		}
	})
}

func TestCompletion(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	s.many(3)
	s.ok("pause", "b-2")
	offers := func(want string, args ...string) {
		t.Helper()
		var got []string
		for line := range strings.Lines(s.ok(append([]string{"__complete"}, args...)...)) {
			if name, _, _ := strings.Cut(strings.TrimSpace(line), "\t"); !strings.HasPrefix(name, ":") {
				got = append(got, name)
			}
		}
		slices.Sort(got)
		if strings.Join(got, " ") != want {
			t.Errorf("%v offers %q, want %q", args, strings.Join(got, " "), want)
		}
	}
	for _, command := range []string{"status", "wait", "cancel"} {
		offers("b-1 b-2 b-3", command, "b")
		offers("", command, "c")
	}
	offers("b-1 b-3", "pause", "")
	offers("b-2", "resume", "")
	offers("", "retry", "")
	s.ok("cancel", "b-1")
	offers("b-2 b-3", "cancel", "")
	offers("", "failures", "--batch", "")
	offers("canceled ended paused running", "status", "--state", "")
	offers("csv json jsonl table xlsx", "status", "-o", "")
	s.environ["TIWSNAP_REDIS_URL"] = "redis://127.0.0.1:1"
	offers("", "status", "")
	s.environ["TIWSNAP_CONFIG"] = s.file(
		"tiwsnap.yml",
		`schedules: [{name: evening, cron: "0 1 * * *", rooms: {list: "RoomId\n1\n"}, defaults: {SdkAppId: 1}}]`,
	)
	offers("evening", "schedule", "run", "")
	offers("evening", "schedule", "next", "")
}

// The outcome for each id is available as JSON too.
func TestOutcomesAsJSON(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	s.many(2)
	for _, tt := range []struct {
		code int
		args []string
		want string
	}{
		{exitOK, []string{"pause", "b-1"},
			`{"results":[{"id":"b-1","done":true,"message":"paused; rooms that are already in the queue are still sent"}]}`},
		{exitOK, []string{"resume", "b-1"}, `{"results":[{"id":"b-1","done":true,"message":"resumed"}]}`},
		{exitFailed, []string{"retry", "b-1", "--failed"},
			`{"results":[{"id":"b-1","done":false,"message":"nothing to retry: no snapshot failed"}]}`},
		{exitUsage, []string{"cancel", "none", "b-2"},
			`{"results":[{"id":"none","done":false,"message":"there is no snapshot or batch none; records are kept ` +
				`for 168h after the end"},` +
				`{"id":"b-2","done":true,"message":"1 canceled"}]}`},
		{exitFailed, []string{"webhooks", "resend", "--all"},
			`{"results":[{"id":"all","done":false,"message":"nothing to resend: all webhooks were delivered"}]}`},
	} {
		code, stdout, stderr := s.run("", append(tt.args, "-o", "json")...)
		var got, want any
		if err := json.Unmarshal([]byte(stdout), &got); err != nil {
			t.Fatalf("%v: %v\n%s", tt.args, err, stdout)
		}
		if err := json.Unmarshal([]byte(tt.want), &want); err != nil {
			t.Fatal(err)
		}
		if code != tt.code || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%v: exit %d, %s%s", tt.args, code, stdout, stderr)
		}
	}
	if _, stdout, _ := s.run("", "cancel", "none", "b-1", "-o", "jsonl"); strings.Count(stdout, "\n") != 2 {
		t.Errorf("%s", stdout)
	}
}
