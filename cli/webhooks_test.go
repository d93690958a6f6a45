package cli

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/internal/needs"
	"tiwsnap/tiw/tiwtest"
)

// hook is a receiver of webhooks.
type hook struct {
	*httptest.Server
	status atomic.Int64 // of its responses
	bodies chan string
}

// newHook starts a receiver and configures the site's workers to send webhooks to it.
func newHook(s site) *hook {
	h := &hook{bodies: make(chan string, 100)}
	h.status.Store(http.StatusOK)
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.WriteHeader(int(h.status.Load()))
		select {
		case h.bodies <- string(b):
		default: // otherwise the server could not be closed
			s.Errorf("no test has read the last %d webhooks", cap(h.bodies))
		}
	}))
	s.Cleanup(h.Close)
	s.environ["TIWSNAP_WEBHOOK_URL"] = h.URL + "/K3Y"
	s.environ["TIWSNAP_WEBHOOK_SECRET"] = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	s.environ["TIWSNAP_WEBHOOK_PRIVATE"] = "127.0.0.1"
	s.environ["TIWSNAP_WEBHOOK_HTTP"] = "true"
	return h
}

// next waits for the next webhook and returns its type and data.
func (h *hook) next(t *testing.T) (event string, data any) {
	t.Helper()
	body := h.nextBody(t)
	var m map[string]any
	if err := json.Unmarshal([]byte(body), &m); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	checkNoNull(t, body)
	return m["type"].(string), m["data"]
}

// nextBody waits for the next request and returns its body.
func (h *hook) nextBody(t *testing.T) string {
	t.Helper()
	select {
	case body := <-h.bodies:
		return body
	case <-time.After(30 * time.Second):
		t.Fatal("no webhook within 30 s")
		panic("unreachable")
	}
}

// A webhook has the same data as the status command.
func TestWebhookMatchesStatus(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	h := newHook(s)
	s.startWorker()
	s.mustRun("enqueue", "batch", s.file("a.csv", "SdkAppId,RoomId,Label.Class\n1400123480,7,3B & 3C\n"),
		"--name", "monday", "--wait")
	for range 2 {
		event, data := h.next(t)
		s.checkSameAsStatus(map[string]string{"snapshot.ended": "monday.1", "batch.ended": "monday"}[event], data)
	}
}

// If a command ends a batch, the workers send the webhook. The command needs no webhook settings.
func TestWebhookOfCanceledBatch(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	operator := s
	operator.environ = maps.Clone(s.environ)
	h := newHook(s)
	stop := s.startWorker()
	s.mustRun("enqueue", "room", "--app", "1400123480", "--room", "1", "--wait")
	h.next(t)
	stop()
	s.mustRun("enqueue", "batch", s.file("a.csv", "SdkAppId,RoomId\n1400123480,7\n"), "--name", "monday")
	operator.mustRun("cancel", "monday")
	s.startWorker()
	event, data := h.next(t)
	if event != "batch.ended" {
		t.Errorf("webhook %s, want batch.ended", event)
	}
	s.checkSameAsStatus("monday", data)
}

// checkSameAsStatus checks that data of a webhook equals the status of a snapshot or batch.
func (s site) checkSameAsStatus(id string, data any) {
	s.Helper()
	var status any
	if err := json.Unmarshal([]byte(s.mustRun("status", id, "-o", "json")), &status); err != nil {
		s.Fatal(err)
	}
	if diff := cmp.Diff(status, data); diff != "" {
		s.Errorf("webhook differs from the status of %s (-status +webhook):\n%s", id, diff)
	}
}

func TestDeadWebhooks(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{TaskFailure: 1})
	if out := s.mustRun("webhooks", "-o", "json"); out != "[]\n" {
		t.Errorf("webhooks before there are any: %s", out)
	}
	h := newHook(s)
	s.environ["TIWSNAP_WEBHOOK_EVENTS"] = "snapshot"
	h.status.Store(http.StatusGone)
	s.startWorker()
	code, id, stderr := s.run("", "enqueue", "room", "--app", "1400123480", "--room", "7", "--wait", "-o", "jsonl")
	if code != exitFailed {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	var snapshot struct{ ID string }
	if err := json.Unmarshal([]byte(id), &snapshot); err != nil {
		t.Fatal(err)
	}
	h.next(t)
	dead := s.waitForDeadWebhooks(1)
	if dead[0].Event != "snapshot.ended" || dead[0].Ref != snapshot.ID || dead[0].Tries != 1 ||
		"http://"+dead[0].Receiver != h.URL ||
		!strings.HasSuffix(dead[0].Error, "answered 410 Gone: it wants no more webhooks") ||
		time.Since(dead[0].DiedAt) > time.Minute || dead[0].EndedAt.Truncate(time.Second).After(dead[0].DiedAt) {
		t.Errorf("dead webhook %+v", dead[0])
	}
	table := s.mustRun("webhooks")
	if !strings.Contains(table, dead[0].ID) || !strings.Contains(table, "410 Gone") || strings.Contains(table, "K3Y") {
		t.Errorf("webhooks printed\n%s", table)
	}

	if _, _, stderr := s.run("", "webhooks"); !strings.Contains(stderr, dead[0].Receiver+" answered 410 Gone at ") ||
		!strings.Contains(stderr, "gets no more webhooks of the default receiver") {
		t.Errorf("stderr lacks the receiver: %s", stderr)
	}

	s.mustRun("webhooks", "resend", dead[0].ID)
	h.next(t) // again 410 Gone
	s.waitForDeadWebhooks(1)
	h.status.Store(http.StatusOK)
	s.mustRun("webhooks", "resend", "--all")
	_, data := h.next(t)
	s.checkSameAsStatus(snapshot.ID, data) // including the meaning of its error
	s.waitForDeadWebhooks(0)

	s.checkRun(exitFailed, dead[0].ID+": is being delivered, or was delivered\n", "webhooks", "resend", dead[0].ID)
	s.checkRun(exitFailed, "nothing to resend", "webhooks", "resend", "--all")
	for want, args := range map[string][]string{
		"there is no webhook w-1":             {"w-1"},
		"give the ids of webhooks, or --all":  {},
		"give the ids of webhooks, or --all ": {"--all", dead[0].ID},
	} {
		code, _, stderr := s.run("", append([]string{"webhooks", "resend"}, args...)...)
		if code != exitUsage || !strings.Contains(stderr, strings.TrimSpace(want)) {
			t.Errorf("resend %v: exit code %d, %s", args, code, stderr)
		}
	}
}

// waitForDeadWebhooks waits until n webhooks are dead.
func (s site) waitForDeadWebhooks(n int) []deadWebhook {
	s.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(30 * time.Second); ; {
		var all []deadWebhook
		out := s.mustRun("webhooks", "-o", "json")
		if err := json.Unmarshal([]byte(out), &all); err != nil {
			s.Fatal(err)
		}
		if len(all) == n {
			return all
		}
		select {
		case <-deadline:
			s.Fatalf("want %d dead webhooks within 30 s; there are\n%s", n, out)
		case <-tick.C:
		}
	}
}

func TestBatchWithOwnWebhook(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	h := newHook(s)
	delete(s.environ, "TIWSNAP_WEBHOOK_URL")
	list := s.file("a.csv", "SdkAppId,RoomId\n1400123480,7\n")
	if code, _, stderr := s.run("", "enqueue", "batch", list, "--webhook", h.URL+"/own"); code != exitUsage ||
		!strings.Contains(stderr, "TIWSNAP_WEBHOOK_ALLOW") {
		t.Errorf("host not allowed: exit code %d, %s", code, stderr)
	}
	s.environ["TIWSNAP_WEBHOOK_ALLOW"] = strings.TrimPrefix(h.URL, "http://")
	s.environ["TIWSNAP_WEBHOOK_EVENTS"] = "batch"
	s.startWorker()
	s.mustRun("enqueue", "batch", list, "--name", "own", "--webhook", h.URL+"/own", "--wait")
	event, data := h.next(t)
	if event != "batch.ended" {
		t.Errorf("webhook %s, want batch.ended", event)
	}
	s.checkSameAsStatus("own", data)
}
