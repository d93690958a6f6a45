package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"tiwsnap/config"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/tiw"
	"tiwsnap/tiw/tiwtest"
)

// The web command shows and changes only its own namespace of a Redis.
func TestWebServesOnlyItsNamespace(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	school := s
	school.environ = maps.Clone(s.environ)
	school.environ["TIWSNAP_NAMESPACE"] = "school"
	list := s.file("class.csv", "SdkAppId,RoomId\n1400123480,7\n")
	school.mustRun("enqueue", "batch", list, "--name", "mine")
	s.mustRun("enqueue", "batch", list, "--name", "other")

	addr, _ := s.startWeb(map[string]string{"TIWSNAP_NAMESPACE": "school"})
	b := &browser{T: t}
	if status, body := b.send("GET", "http://"+addr+"/v1/batches", nil); status != http.StatusOK ||
		!strings.Contains(body, `"mine"`) || strings.Contains(body, `"other"`) {
		t.Errorf("GET /v1/batches: status %d, %s, want only mine", status, body)
	}
	b.checkPage("http://"+addr+"/batches", "mine")
	for _, do := range []string{"pause", "cancel", "again"} {
		status, body := b.send("POST", "http://"+addr+"/v1/batches/mine/"+do, nil)
		if status != http.StatusOK && status != http.StatusAccepted {
			t.Errorf("%s: status %d: %s", do, status, body)
		}
	}
	if got := school.batchStatus("mine"); got.Canceled != 1 {
		t.Errorf("batch mine: %+v, want 1 canceled", got)
	}
	if got := s.batchStatus("other"); got.Canceled != 0 || got.Queued != 1 {
		t.Errorf("batch of the other namespace: %+v, want 1 queued", got)
	}
}

// A worker or doctor with another endpoint than that of the namespace fails, and sends no request to that endpoint. A
// worker with --moved moves the namespace.
func TestNamespaceMoves(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	s.enqueueBatch("a", 1)
	stop := s.startWorker()
	s.waitForBatch("a", "has ended", func(b batchJSON) bool { return b.Succeeded == 1 })
	stop()

	other := tiwtest.Start(t, tiwtest.Options{})
	there := s
	there.environ = maps.Clone(s.environ)
	there.environ["TIWSNAP_TIW_ENDPOINT"] = other.URL
	there.checkRun(exitConfig, "tiwsnap worker --moved", "worker")
	there.checkRun(exitConfig, "FAIL  namespace: namespace tiwsnap works with the endpoint "+s.sim.URL, "doctor")
	away := there
	away.environ = maps.Clone(there.environ)
	away.environ["TIWSNAP_TIW_ENDPOINT"] = "http://" + redistest.FreeAddr(t)
	away.checkRun(exitConfig, "FAIL  namespace: namespace tiwsnap works with the endpoint "+s.sim.URL, "doctor")
	for action, st := range other.State().Actions {
		if st.Received.Requests > 0 {
			t.Errorf("%d requests of %s at the other endpoint, want 0", st.Received.Requests, action)
		}
	}
	s.enqueueBatch("b", 1)
	stop = s.startWorker()
	s.waitForBatch("b", "has ended", func(b batchJSON) bool { return b.Succeeded == 1 })
	there.checkRun(exitConfig, "workers of namespace tiwsnap still run with "+s.sim.URL, "worker", "--moved")
	stop()
	s.enqueueBatch("c", 1)
	stop = there.startWorker("--moved")
	s.waitForBatch("c", "has ended", func(b batchJSON) bool { return b.Succeeded == 1 })
	stop()
	if n := other.State().Tasks.Created; n != 1 {
		t.Errorf("%d tasks at the new endpoint, want 1", n)
	}
	s.checkRun(exitConfig, "namespace tiwsnap works with the endpoint "+other.URL, "worker")
}

// One worker process serves two accounts. Each room is sent with the key of its account. Pages, API, metrics and
// callbacks keep the accounts apart.
func TestOneWorkerForTwoNamespaces(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	other := tiwtest.Start(t, tiwtest.Options{
		Credentials: map[string]tiwtest.Secret{"b": "bkey"}, TaskDuration: 100 * time.Millisecond,
	})
	addr, callbacks := redistest.FreeAddr(t), redistest.FreeAddr(t)
	file := s.file("tiwsnap.yml", fmt.Sprintf(`
callback: {addr: %q, url: "http://%s", key: 0123456789abcdef0123456789abcdef}
namespaces:
- name: school-a
- name: school-b
  tencentcloud: {secret_id: b, secret_key: bkey}
  tiw: {endpoint: %q}
  rate: {limit: 10}
`, callbacks, callbacks, other.URL))
	s.environ = maps.Clone(s.environ)
	s.environ["TIWSNAP_CONFIG"] = file
	s.environ["TIWSNAP_CONFIRM_AFTER"] = "1m" // results come by callback
	s.environ["TIWSNAP_HTTP_ADDR"] = addr
	s.startWorker()

	list := s.file("class.csv", "SdkAppId,RoomId\n1400123480,1\n1400123480,2\n1400123480,3\n")
	s.mustRun("enqueue", "batch", list, "--name", "class") // in the first namespace
	s.mustRun("enqueue", "batch", list, "--name", "class", "--namespace", "school-b")
	s.checkRun(exitConfig, "is not one of the file's namespaces: school-a, school-b", "status", "--namespace", "school-c")
	b := s
	b.environ = maps.Clone(s.environ)
	b.environ["TIWSNAP_NAMESPACE"] = "school-b"
	for _, one := range []site{s, b} {
		one.waitForBatch("class", "has ended by callbacks", func(b batchJSON) bool { return b.Succeeded == 3 })
	}
	for _, sim := range []*tiwtest.Server{s.sim, other} {
		st := sim.State()
		if st.Tasks.Created != 3 || len(st.Codes) != 1 || st.Callbacks.Sent < 3 {
			t.Errorf("%d tasks, codes %v, callbacks %+v", st.Tasks.Created, st.Codes, st.Callbacks)
		}
	}

	// Without a namespace, status shows both. With a namespace, it shows only that one.
	for name, want := range map[string]string{"": "school-a class|school-b class", "school-b": "class"} {
		var listed struct {
			Batches []struct{ Namespace, ID string }
		}
		args := []string{"status", "-o", "json"}
		if name != "" {
			args = append(args, "--namespace", name)
		}
		if err := json.Unmarshal([]byte(s.mustRun(args...)), &listed); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, b := range listed.Batches {
			got = append(got, strings.TrimSpace(b.Namespace+" "+b.ID))
		}
		if strings.Join(got, "|") != want {
			t.Errorf("status of %q lists %q", name, got)
		}
	}
	rows := regexp.MustCompile(`(?s)^NAMESPACE +BATCH .*\nschool-a +class .*\nschool-b +class `)
	if table := s.mustRun("status"); !rows.MatchString(table) {
		t.Errorf("status printed\n%s", table)
	}

	web := &browser{T: t}
	root := "http://" + addr
	web.checkPage(root+"/batches", `href="/batches/class"`)
	web.checkPage(root+"/batches", `href="/n/school-b/"`)
	web.checkPage(root+"/n/school-b/batches", `href="/n/school-b/batches/class"`)
	web.checkPage(root+"/n/school-b/openapi.json", `"url":"/n/school-b"`)
	web.checkPage(root+"/n/school-b/asynqmon/", "/n/school-b/asynqmon")
	web.checkPage(root+"/n/school-b/asynqmon/api/queues/school-b-bulk", `"queue":"school-b-bulk"`)
	for _, list := range []string{"queues", "queue_stats", "servers", "scheduler_entries"} {
		status, body := web.send("GET", root+"/n/school-b/asynqmon/api/"+list, nil)
		if status != http.StatusOK || strings.Contains(body, "school-a") {
			t.Errorf("asynqmon of school-b, %s: %d %s", list, status, body)
		}
		if list != "scheduler_entries" && !strings.Contains(body, "school-b-bulk") {
			t.Errorf("asynqmon of school-b, %s, lacks its own queue: %s", list, body)
		}
	}
	web.checkPage(root+"/asynqmon/api/queues", "school-b-bulk") // the top level shows all
	for _, r := range [][2]string{
		{"GET", "queues/school-a-bulk"}, {"POST", "queues/school-a-bulk:pause"}, {"DELETE", "queues/school-a-bulk"},
		{"GET", "queues/school-a-bulk/pending_tasks"}, {"POST", "queues/school-a-bulk/pending_tasks:batch_delete"},
	} {
		if status, body := web.send(r[0], root+"/n/school-b/asynqmon/api/"+r[1], nil); status != http.StatusNotFound ||
			!strings.Contains(body, `has no queue "school-a-bulk"`) {
			t.Errorf("%s %s of another namespace: %d %s", r[0], r[1], status, body)
		}
	}
	for path, limit := range map[string]string{"": `"limit":20`, "/n/school-b": `"limit":10`} {
		web.checkPage(root+path+"/v1/limit", limit)
		if status, _ := web.send("POST", root+path+"/batches/class/again", url.Values{}); status != http.StatusSeeOther {
			t.Errorf("again of %q: status %d, want 303", path, status)
		}
	}
	if status, _ := web.send("GET", root+"/n/school-c/batches", nil); status != http.StatusNotFound {
		t.Errorf("unknown namespace: status %d, want 404", status)
	}
	for _, metric := range []string{
		`tiwsnap_limit_requests{action="CreateSnapshotTask",namespace="school-a"} 20`,
		`tiwsnap_limit_requests{action="CreateSnapshotTask",namespace="school-b"} 10`,
		`tiwsnap_callbacks_total{namespace="school-b",result="recorded"} `,
	} {
		web.checkPage(root+"/metrics", metric)
	}
	for _, words := range []string{"ok    school-a credentials", "ok    school-b credentials"} {
		s.checkRun(exitOK, words, "doctor")
	}
}

// A callback URL that was made for one namespace is not valid for another one with the same secret.
func TestCallbackKeysDifferByNamespace(t *testing.T) {
	t.Parallel()
	keys := map[string]tiw.CallbackKeys{}
	for _, ns := range []string{"tiwsnap", "school-a", "school-b"} {
		c, err := config.Load(config.Source{Environ: []string{
			"TIWSNAP_NAMESPACE=" + ns, "TIWSNAP_CALLBACK_ADDR=:1", "TIWSNAP_CALLBACK_URL=https://h",
			"TIWSNAP_CALLBACK_KEY=0123456789abcdef0123456789abcdef",
		}})
		if err != nil {
			t.Fatal(err)
		}
		keys[ns] = callbackKeys(c)
	}
	for owner, signer := range keys {
		path := signer.URL("", "class.1", 1, time.Now().Add(time.Hour))
		for other, verifier := range keys {
			if _, _, err := verifier.Verify(path, time.Now()); (err == nil) != (owner == other) {
				t.Errorf("URL of %s verified by %s: %v", owner, other, err)
			}
		}
	}
}

// Each Redis and each namespace has a spool folder of its own.
func TestSpoolFoldersDiffer(t *testing.T) {
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
				t.Errorf("namespace %s of %s has the folder of %s", ns, redis, before)
			}
			seen[dir] = ns + " of " + redis
		}
	}
}
