package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"tiwsnap/internal/keys"
	"tiwsnap/internal/rdb"
	"tiwsnap/internal/redistest"
	"tiwsnap/internal/testbed"
)

func TestRunsOf(t *testing.T) {
	for _, test := range []struct{ faults, want []string }{
		{nil, []string{"together"}},
		{[]string{faultKill, faultStorm}, []string{"together"}},
		{[]string{faultFlush}, []string{"flush"}},
		{[]string{faultFlush, faultBadRoom}, []string{"together", "flush"}},
		{[]string{faultFailover}, []string{"failover-local", "failover-replicated"}},
		{allFaults(), []string{
			"together", "namespaces", "flush", "stale-replica-local", "stale-replica-replicated",
			"failover-local", "failover-replicated", "cluster-local", "cluster-replicated",
		}},
	} {
		var got []string
		for _, r := range runsOf(test.faults) {
			got = append(got, r.name)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("runsOf(%q) = %q, want %q", test.faults, got, test.want)
		}
	}
}

// Keys outside both namespaces are found, including a queue whose name has the same prefix.
func TestForeignKeys(t *testing.T) {
	c, _, err := rdb.Open(redistest.Embedded(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	want := []string{"asynq:{school-aa-bulk}:pending", "{tiwsnap}:batches"}
	own := []string{
		"{school-a}:batches", "{school-b}:gate", "asynq:{school-a-bulk}:pending", "asynq:{school-b-interactive}:t:1",
		"asynq:queues", "asynq:servers", "asynq:servers:{host:1:x}", "asynq:workers:{host:1:x}",
	}
	for _, key := range append(own, want...) {
		if err := c.Set(t.Context(), key, "", 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	installationOf := func(ns keys.Namespace) *installation {
		return &installation{Testbed: &testbed.Testbed{DB: c}, ns: ns}
	}
	got, err := foreignKeys(t.Context(), installationOf("school-a"), installationOf("school-b"))
	slices.Sort(got)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("foreignKeys() = %q, %v, want %q", got, err, want)
	}
}

func TestStore(t *testing.T) {
	s, err := newStore(t.TempDir(), false)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(s.dir(), "1.png")
	write := func() error { return os.WriteFile(file, []byte("image"), 0o600) }
	if err := write(); err != nil {
		t.Fatal(err)
	}
	if err := s.leave(); err != nil || write() == nil {
		t.Errorf("the store is writable after leave() = %v", err)
	}
	if err := s.comeBack(); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(file); string(text) != "image" {
		t.Errorf("after comeBack() the file has %q, %v, want image", text, err)
	}
}
