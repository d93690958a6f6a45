package cli

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/tiw/tiwtest"
)

// startWeb runs the web command at a free address until the test ends. It has no API
// key.
func (s site) startWeb(change map[string]string) (addr string, log *lines) {
	s.Helper()
	addr = redistest.FreeAddr(s.T)
	environ := map[string]string{"TIWSNAP_REDIS_URL": s.environ["TIWSNAP_REDIS_URL"], "TIWSNAP_HTTP_ADDR": addr}
	for name, value := range change {
		environ[name] = value
	}
	ctx, cancel := context.WithCancel(context.Background())
	log = new(lines)
	var done sync.WaitGroup
	done.Go(func() {
		e := env{strings.NewReader(""), io.Discard, log, variables(environ)}
		if code := run(ctx, []string{"web"}, e); code != exitOK {
			s.Errorf("web: exit code %d\n%s", code, log)
		}
	})
	s.Cleanup(func() { cancel(); done.Wait() })
	redistest.Until(s.T, "web serves HTTP", func() bool { return strings.Contains(log.String(), "serving HTTP") })
	return addr, log
}

// browser keeps a session, and follows no redirect.
type browser struct {
	*testing.T
	cookie *http.Cookie
}

func (b *browser) send(method, url string, form url.Values, header ...string) (status int, body string) {
	b.Helper()
	var in io.Reader
	if form != nil {
		in = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(b.Context(), method, url, in)
	if err != nil {
		b.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	if b.cookie != nil {
		req.AddCookie(b.cookie)
	}
	client := http.Client{
		Timeout:       10 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.Fatal(err)
	}
	if all := resp.Cookies(); len(all) > 0 {
		b.cookie = all[0]
	}
	return resp.StatusCode, string(text)
}

func (b *browser) logIn(addr, name, word string) (ok bool) {
	b.Helper()
	status, _ := b.send("POST", "http://"+addr+"/login", url.Values{"name": {name}, "password": {word}})
	return status == http.StatusSeeOther
}

// checkPage requests a page and checks that it exists and has the words.
func (b *browser) checkPage(url, words string) {
	b.Helper()
	if status, body := b.send("GET", url, nil); status != http.StatusOK || !strings.Contains(body, words) {
		b.Errorf("%s: status %d, want %q in the page:\n%.2000s", url, status, words, body)
	}
}

// Two web processes run beside a worker that serves no HTTP. The first login is valid for both, and both show what the
// worker does.
func TestWebWithoutWorker(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	dir := t.TempDir()
	code, out, _ := s.run("", "first-login", dir)
	printed := regexp.MustCompile(`^user +admin\npassword +(\S+)\n$`).FindStringSubmatch(out)
	if code != exitOK || printed == nil {
		t.Fatalf("first-login: exit code %d: %q", code, out)
	}
	logins := map[string]string{
		"TIWSNAP_HTTP_USERS_FILE":       filepath.Join(dir, "users"),
		"TIWSNAP_HTTP_SESSION_KEY_FILE": filepath.Join(dir, "session_key"),
	}
	one, _ := s.startWeb(logins)
	two, log := s.startWeb(logins)

	b := &browser{T: t}
	if status, _ := b.send("GET", "http://"+one+"/v1/batches", nil); status != http.StatusUnauthorized {
		t.Errorf("without a login: status %d, want 401", status)
	}
	if b.logIn(one, "admin", "a guess") || !b.logIn(one, "admin", printed[1]) {
		t.Fatal("only the printed password must be valid")
	}
	for _, addr := range []string{one, two} {
		b.checkPage("http://"+addr+"/", "tiwsnap")
		b.checkPage("http://"+addr+"/asynqmon/", "<!doctype html>")
		b.checkPage("http://"+addr+"/metrics", `tiwsnap_limit_requests{action="CreateSnapshotTask",namespace="tiwsnap"} 20`)
		b.checkPage("http://"+addr+"/v1/limit", `"CreateSnapshotTask"`)
	}
	status, body := b.send("POST", "http://"+two+"/v1/batches?name=monday", nil, "Content-Type", "text/csv")
	if status != http.StatusUnprocessableEntity && status != http.StatusBadRequest {
		t.Errorf("empty list: status %d %s", status, body)
	}
	s.mustRun("enqueue", "room", "--app", "1400123480", "--room", "7", "--key", "k")
	b.checkPage("http://"+one+"/v1/batches", `"batches"`)

	// The web command processes no queue.
	queued := func() bool {
		_, body := b.send("GET", "http://"+one+"/asynqmon/api/queues", nil)
		return strings.Contains(body, `"tiwsnap-interactive"`)
	}
	redistest.Until(t, "asynqmon shows the queue", queued)
	if n := s.sim.State().Requests; n != 0 {
		t.Errorf("%d requests to Tencent without a worker, want 0", n)
	}
	s.startWorker()
	redistest.Until(t, "the worker has created a task", func() bool { return s.sim.State().Tasks.Created == 1 })

	for _, secret := range []string{printed[1], "argon2id$v="} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log shows %s:\n%s", secret, log)
		}
	}
}

func TestWebRejectsSettings(t *testing.T) {
	s := newSite(t, tiwtest.Options{})
	s.checkRun(exitConfig, "TIWSNAP_HTTP_ADDR is empty", "web")
	s.environ["TIWSNAP_HTTP_ADDR"] = "0.0.0.0:8080"
	s.checkRun(exitConfig, "TIWSNAP_HTTP_USERS: is missing", "web")
	addr, _ := s.startWeb(nil)
	s.environ["TIWSNAP_HTTP_ADDR"] = addr
	s.checkRun(exitUnavailable, "address already in use; choose another address with TIWSNAP_HTTP_ADDR or", "web")
	s.environ["TIWSNAP_REDIS_URL"] = "embedded"
	for _, command := range []string{"web", "status", "limit", "stop", "enqueue room --app 1 --room 1"} {
		s.checkRun(exitConfig, "a Redis inside one worker", strings.Fields(command)...)
	}
}
