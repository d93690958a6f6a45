package cli

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"tiwsnap/internal/needs"
	"tiwsnap/tiw/tiwtest"
)

func TestBatchFromListToImages(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	s.startWorker()
	list := s.file("Class 3B.csv",
		"SdkAppId;RoomId;Label.Class;Label.Note\r\n1400123480;7;3B 数学;=SUM(A1)\r\n1400123480;8;3C;\"a, \"\"b\"\"\"\r\n")
	id := strings.Fields(s.mustRun("enqueue", "batch", list, "--wait", "-o", "json"))
	if len(id) == 0 {
		t.Fatal("enqueue batch printed nothing")
	}
	overview := s.mustRun("status", "-o", "csv")
	_, batches := parseCSV(t, overview)
	if len(batches) != 1 || !strings.HasPrefix(batches[0][0], "class-3b-") {
		t.Fatalf("status lists %s, want one batch class-3b-…", overview)
	}
	batch := batches[0][0]

	header, rows := parseCSV(t, s.mustRun("status", batch, "-o", "csv"))
	if len(rows) != 2 {
		t.Fatalf("result list has %d rows, want 2", len(rows))
	}
	for i, want := range []map[string]string{
		{"Snapshot": batch + ".1", "SdkAppId": "1400123480", "RoomId": "7", "State": "succeeded", "Attempts": "1",
			"Label.Class": "3B 数学", "Label.Note": "'=SUM(A1)"},
		{"Snapshot": batch + ".2", "RoomId": "8", "State": "succeeded", "Label.Class": "3C", "Label.Note": `a, "b"`},
	} {
		for name, value := range want {
			if got := rows[i][header[name]]; got != value {
				t.Errorf("row %d: %s = %q, want %q", i+1, name, got, value)
			}
		}
		images := strings.Fields(rows[i][header["Snapshots"]])
		if len(images) == 0 {
			t.Errorf("row %d has no images", i+1)
		}
		for _, url := range images {
			resp, err := http.Get(url)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "image/png" {
				t.Errorf("%s: %s, %s", url, resp.Status, resp.Header.Get("Content-Type"))
			}
		}
	}

	lines := strings.Split(strings.TrimSpace(s.mustRun("status", batch, "-o", "jsonl")), "\n")
	var line struct {
		ID, State string
		Room      struct{ RoomId uint64 }
		Images    []string
	}
	if len(lines) != 2 {
		t.Fatalf("result list has %d lines, want 2", len(lines))
	}
	if err := json.Unmarshal([]byte(lines[1]), &line); err != nil || line.ID != batch+".2" || line.Room.RoomId != 8 ||
		len(line.Images) == 0 {
		t.Errorf("second line %s, want room 8 with images (%v)", lines[1], err)
	}
	if out := s.mustRun("status", batch+".1"); !strings.Contains(out, "succeeded") ||
		!strings.Contains(out, "RequestId") || !strings.Contains(out, ".png") {
		t.Errorf("status of a row: %s", out)
	}
	if out := s.mustRun("status", batch); !strings.Contains(out, "ended") {
		t.Errorf("status of the batch: %s", out)
	}

	code, stdout, stderr := s.run("", "enqueue", "batch", list)
	if code != exitOK || strings.TrimSpace(stdout) != batch ||
		!strings.Contains(stderr, "exists already with the same 2 rooms") {
		t.Errorf("same list again: exit code %d, %q, %q", code, stdout, stderr)
	}
	if n := s.sim.State().Tasks.Created; n != 2 {
		t.Errorf("%d tasks created for 2 rooms", n)
	}
	other := s.file("other.csv", "SdkAppId,RoomId\n1400123480,9\n")
	if code, _, stderr := s.run("", "enqueue", "batch", other, "--name", batch); code != exitUsage ||
		!strings.Contains(stderr, "with other rooms") {
		t.Errorf("other rooms with the same name: exit code %d, %q", code, stderr)
	}
}

func TestRoomFromEnqueueToImages(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	id := strings.TrimSpace(s.mustRun("enqueue", "room", "--app", "1400123480", "--room", "12345", "--width", "640",
		"--height", "0", "--label", "Class=3B"))
	if out := s.mustRun("status", id); !strings.Contains(out, "queued") || !strings.Contains(out, "12345") {
		t.Errorf("status before a worker runs: %s", out)
	}
	s.startWorker()
	if out := s.mustRun("wait", id); !strings.Contains(out, "succeeded") {
		t.Errorf("wait printed %s, want succeeded", out)
	}
	var got struct {
		State string
		Room  struct {
			Whiteboard struct{ Width, Height *uint64 }
			Label      map[string]string
		}
	}
	out := s.mustRun("status", id, "-o", "json")
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if w := got.Room.Whiteboard; got.State != "succeeded" || *w.Width != 640 || *w.Height != 0 ||
		got.Room.Label["Class"] != "3B" {
		t.Errorf("status of the snapshot: %s", out)
	}
	for _, args := range [][]string{
		{"enqueue", "room", "--room", "1"},
		{"enqueue", "room", "--app", "1", "--room", "18446744073709551616"},
		{"enqueue", "room", "--app", "1", "--room", "1", "--width", "2561"},
		{"enqueue", "room", "--app", "1", "--room", "1", "--mode", "All"},
		{"enqueue", "room", "--app", "1", "--room", "1", "--cos-region", "x"},
		{"enqueue", "room", "--app", "1", "--room", "x"},
		{"status", "s-nobody"}, {"wait", "s-nobody"}, {"status", id, "-o", "xml"}, {"wait"}, {"nonsense"},
	} {
		if code, _, stderr := s.run("", args...); code != exitUsage || !strings.HasPrefix(stderr, "tiwsnap: ") {
			t.Errorf("%v: exit code %d, %q", args, code, stderr)
		}
	}
}
