package cli

import (
	"maps"
	"net/http"
	"strings"
	"testing"

	"tiwsnap/config"
	"tiwsnap/tiw/tiwtest"
)

// A web shows and changes its namespace, and no other on the same Redis.
func TestWebOfANamespace(t *testing.T) {
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	school := s
	school.environ = maps.Clone(s.environ)
	school.environ["TIWSNAP_NAMESPACE"] = "school"
	list := s.file("class.csv", "SdkAppId,RoomId\n1400123480,7\n")
	school.ok("enqueue", "batch", list, "--name", "mine")
	s.ok("enqueue", "batch", list, "--name", "other")

	addr, _ := s.web(map[string]string{"TIWSNAP_NAMESPACE": "school"})
	b := &browser{T: t}
	if status, body := b.send("GET", "http://"+addr+"/v1/batches", nil); status != http.StatusOK ||
		!strings.Contains(body, `"mine"`) || strings.Contains(body, `"other"`) {
		t.Errorf("%d: %s", status, body)
	}
	b.sees("http://"+addr+"/batches", "mine")
	for _, do := range []string{"pause", "cancel", "again"} {
		status, body := b.send("POST", "http://"+addr+"/v1/batches/mine/"+do, nil)
		if status != http.StatusOK && status != http.StatusAccepted {
			t.Errorf("%s: %d: %s", do, status, body)
		}
	}
	if got := school.status("mine"); got.Canceled != 1 {
		t.Errorf("%+v", got)
	}
	if got := s.status("other"); got.Canceled != 0 || got.Queued != 1 {
		t.Errorf("%+v", got)
	}
}

// A worker, or doctor, with another endpoint than the one that a namespace works
// with is refused and asks nothing there, until a person says that it has moved.
func TestNamespaceMoves(t *testing.T) {
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	s.batch("a", 1)
	stop := s.worker()
	s.until("a", "has ended", func(b batchJSON) bool { return b.Succeeded == 1 })
	stop()

	other := tiwtest.Start(t, tiwtest.Options{})
	there := s
	there.environ = maps.Clone(s.environ)
	there.environ["TIWSNAP_TIW_ENDPOINT"] = other.URL
	there.says(exitConfig, "tiwsnap worker --moved", "worker")
	there.says(exitConfig, "FAIL  namespace: namespace tiwsnap works with "+s.sim.URL, "doctor")
	for action, st := range other.State().Actions {
		if st.Received.Calls > 0 {
			t.Errorf("%d calls of %s at the other endpoint", st.Received.Calls, action)
		}
	}
	s.batch("b", 1)
	stop = there.worker("--moved")
	s.until("b", "has ended", func(b batchJSON) bool { return b.Succeeded == 1 })
	stop()
	if n := other.State().Tasks.Created; n != 1 {
		t.Errorf("%d tasks at the endpoint that it has moved to", n)
	}
	s.says(exitConfig, "namespace tiwsnap works with "+other.URL, "worker")
}

// What Redis cannot take is kept apart for each Redis and each namespace.
func TestSpoolFolders(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, redis := range []string{"redis://h:1/0", "redis://h:2/0"} {
		for _, ns := range []string{"tiwsnap", "school"} {
			c, err := config.Load(config.Source{Environ: []string{
				"TIWSNAP_REDIS_URL=" + redis, "TIWSNAP_NAMESPACE=" + ns, "TIWSNAP_WORKER_SPOOL=/var/spool",
			}})
			if err != nil {
				t.Fatal(err)
			}
			dir := spoolFolder(c)
			if before := seen[dir]; before != "" {
				t.Errorf("%s of %s: its folder is that of %s", ns, redis, before)
			}
			seen[dir] = ns + " of " + redis
		}
	}
}
