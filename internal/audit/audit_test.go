package audit_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"tiwsnap/internal/audit"
	"tiwsnap/internal/redistest"
)

func TestMain(m *testing.M) { os.Exit(redistest.Both(m).Run()) }

func TestPage(t *testing.T) {
	l := audit.New(redistest.Client(t), "")
	if all, next, err := l.Page(t.Context(), "", 10); len(all) != 0 || next != "" || err != nil {
		t.Fatalf("Page() of an empty log = %v, %q, %v", all, next, err)
	}
	for i := range 25 {
		e := audit.Entry{By: "ada", Via: audit.Page, Action: "cancel-batch", Object: fmt.Sprintf("b-%02d", i)}
		if i == 24 {
			e.Detail = strings.Repeat("好", 1000)
		}
		if err := l.Add(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for cursor := ""; ; {
		all, next, err := l.Page(t.Context(), cursor, 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range all {
			got = append(got, e.Object)
			if e.By != "ada" || e.Via != "page" || e.Action != "cancel-batch" || time.Since(e.At) > time.Minute {
				t.Errorf("Page() has the entry %+v, want cancel-batch by ada", e)
			}
			if len(e.Detail) > 500 || strings.Contains(e.Detail, "\uFFFD") {
				t.Errorf("Detail is %q, want valid UTF-8 of at most 500 bytes", e.Detail)
			}
		}
		if cursor = next; next == "" {
			break
		}
	}
	if len(got) != 25 || got[0] != "b-24" || got[24] != "b-00" {
		t.Errorf("Page() lists %v, want b-24 to b-00", got)
	}
	for _, cursor := range []string{"x", "1", "1-x", "(1-1"} {
		if _, _, err := l.Page(t.Context(), cursor, 10); !errors.Is(err, audit.ErrCursor) {
			t.Errorf("Page(%q) = %v, want ErrCursor", cursor, err)
		}
	}
}

func TestAfter(t *testing.T) {
	c := redistest.Client(t)
	l := audit.New(c, "")
	after := func(id string, n int) ([]audit.Entry, error) {
		pipe := c.Pipeline()
		read := l.After(t.Context(), pipe, id, n)
		pipe.Exec(t.Context())
		return read()
	}
	if all, err := after("0-0", 10); len(all) != 0 || err != nil {
		t.Fatalf("After() of an empty log = %v, %v", all, err)
	}
	for i := range 5 {
		e := audit.Entry{By: "ada", Via: audit.API, From: "192.0.2.7", Action: "set-limit", Detail: fmt.Sprint(i)}
		if err := l.Add(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	all, err := after("0-0", 3)
	if err != nil || len(all) != 3 || all[0].Detail != "2" || all[2].Detail != "4" || all[0].From != "192.0.2.7" {
		t.Errorf("After(0-0, 3) = %+v, %v, want the newest three", all, err)
	}
	if rest, err := after(all[1].ID, 3); err != nil || len(rest) != 1 || rest[0].Detail != "4" {
		t.Errorf("After(%s, 3) = %+v, %v, want the last entry", all[1].ID, rest, err)
	}
}
