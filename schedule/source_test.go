package schedule_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"tiwsnap/schedule"
	"tiwsnap/tasks"
)

// readRooms returns the RoomIds in a source.
func readRooms(t *testing.T, source schedule.Source) (ids []uint64, report schedule.Report, err error) {
	t.Helper()
	s := schedule.Schedule{Name: "s", Source: source, Defaults: tasks.Room{SdkAppId: 1}}
	for room, e := range s.Rooms(t.Context(), &report) {
		if e != nil {
			err = e
			continue
		}
		ids = append(ids, room.RoomId)
	}
	return ids, report, err
}

func TestFileIsReadAtEachTick(t *testing.T) {
	name := filepath.Join(t.TempDir(), "rooms.csv")
	source := schedule.File(name)
	var missing *schedule.SourceError
	if _, _, err := readRooms(t, source); !errors.As(err, &missing) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error = %v", err)
	}
	for n := range 2 {
		if err := os.WriteFile(name, []byte(fmt.Sprintf("RoomId\n%d\nx\n", n+1)), 0o600); err != nil {
			t.Fatal(err)
		}
		ids, report, err := readRooms(t, source)
		if err != nil || len(ids) != 1 || ids[0] != uint64(n+1) || report.BadRows != 1 {
			t.Errorf("RoomIds = %v, report %+v, error %v", ids, report, err)
		}
	}
	if err := os.WriteFile(name, []byte("RoomId\nx\ny\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, report, err := readRooms(t, source); err == nil || !strings.Contains(err.Error(), "none of 2 rows is valid") ||
		report.BadRows != 2 {
		t.Errorf("error = %v", err)
	}
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := readRooms(t, schedule.File(pipe)); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a named pipe: error = %v", err)
	}
}

func TestURL(t *testing.T) {
	otherHost := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("a redirect to another host was followed")
	}))
	t.Cleanup(otherHost.Close)
	mux := http.NewServeMux()
	mux.HandleFunc("/K3Y/csv", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer T0KEN" {
			t.Errorf("Authorization = %q", r.Header.Get("Authorization"))
		}
		fmt.Fprintln(w, "RoomId\n1\n2")
	})
	mux.HandleFunc("/K3Y/jsonl", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, `{"RoomId":3}`) })
	mux.Handle("/K3Y/moved", http.RedirectHandler("/K3Y/csv", http.StatusFound))
	mux.Handle("/K3Y/loop", http.RedirectHandler("/K3Y/loop", http.StatusFound))
	mux.Handle("/K3Y/away", http.RedirectHandler(otherHost.URL, http.StatusFound))
	mux.HandleFunc("/K3Y/large", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(schedule.MaxBytes+1))
	})
	mux.HandleFunc("/K3Y/cut", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "RoomId\n1\n2")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	mux.HandleFunc("/K3Y/page",
		func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>Please log in</html>") })
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	for path, want := range map[string]string{
		"csv": "[1 2]", "moved": "[1 2]", "jsonl": "[3]",
		"loop": "redirects more than", "away": "to the same host are followed", "large": "larger than 256 MB",
		"cut": "unexpected EOF", "page": "is an HTML page", "none": "404 Not Found",
	} {
		source, err := schedule.URL(server.URL+"/K3Y/"+path, "T0KEN")
		if err != nil {
			t.Fatal(err)
		}
		ids, _, err := readRooms(t, source)
		got := fmt.Sprint(ids)
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) {
			t.Errorf("/%s: got %s, want %s", path, got, want)
		}
		if all := fmt.Sprintf("%s %+v %#v", got, source, source); strings.Contains(all, "K3Y") ||
			strings.Contains(all, "T0KEN") {
			t.Errorf("/%s: the output contains a secret: %s", path, all)
		}
	}
	server.Close()
	source, err := schedule.URL(server.URL+"/K3Y", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := readRooms(t, source); err == nil || strings.Contains(err.Error(), "K3Y") {
		t.Errorf("error = %v", err)
	}
}

func TestCheckCallback(t *testing.T) {
	s := schedule.Schedule{
		Source: schedule.List("SdkAppId,RoomId,CallbackURL\n1,1,https://a.example\n1,2,https://b.example\n1,3,\n"),
		CheckCallback: func(url string) error {
			return map[string]error{"https://b.example": errors.New("is not allowed")}[url]
		},
	}
	var report schedule.Report
	var urls []string
	for room, err := range s.Rooms(t.Context(), &report) {
		if err != nil {
			t.Fatal(err)
		}
		urls = append(urls, room.CallbackURL)
	}
	if len(urls) != 2 || urls[0] != "https://a.example" || report.BadRows != 1 ||
		!strings.Contains(report.Reasons[0], "CallbackURL is not allowed") {
		t.Errorf("CallbackURLs = %q, report %+v", urls, report)
	}
}
