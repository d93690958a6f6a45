package cli

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tiwsnap/internal/needs"
	"tiwsnap/internal/password"
	"tiwsnap/internal/redistest"
	"tiwsnap/tiw/tiwtest"
)

// lines is a log that other goroutines write while a test waits for its lines.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// web runs the web command at a free address until the test ends. It has no API
// key.
func (s site) web(change map[string]string) (addr string, log *lines) {
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
	redistest.Until(s.T, "web serves", func() bool { return strings.Contains(log.String(), "serving HTTP") })
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

// sees requests a page and checks that it exists and has the words.
func (b *browser) sees(url, words string) {
	b.Helper()
	if status, body := b.send("GET", url, nil); status != http.StatusOK || !strings.Contains(body, words) {
		b.Errorf("%s: %d, without %q:\n%.2000s", url, status, words, body)
	}
}

// Two web processes run beside a worker that serves no HTTP. The first login is valid for both, and both show what the
// worker does.
func TestWebWithoutWorking(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	dir := t.TempDir()
	code, out, _ := s.run("", "first-login", dir)
	said := regexp.MustCompile(`^user +admin\npassword +(\S+)\n$`).FindStringSubmatch(out)
	if code != exitOK || said == nil {
		t.Fatalf("first-login: exit code %d: %q", code, out)
	}
	logins := map[string]string{
		"TIWSNAP_HTTP_USERS_FILE":       filepath.Join(dir, "users"),
		"TIWSNAP_HTTP_SESSION_KEY_FILE": filepath.Join(dir, "session_key"),
	}
	one, _ := s.web(logins)
	two, log := s.web(logins)

	b := &browser{T: t}
	if status, _ := b.send("GET", "http://"+one+"/v1/batches", nil); status != http.StatusUnauthorized {
		t.Errorf("without a login: %d", status)
	}
	if b.logIn(one, "admin", "a guess") || !b.logIn(one, "admin", said[1]) {
		t.Fatal("it is not the password that opens")
	}
	for _, addr := range []string{one, two} {
		b.sees("http://"+addr+"/", "tiwsnap")
		b.sees("http://"+addr+"/asynqmon/", "<!doctype html>")
		b.sees("http://"+addr+"/metrics", `tiwsnap_limit_requests{action="CreateSnapshotTask",namespace="tiwsnap"} 20`)
		b.sees("http://"+addr+"/v1/limit", `"CreateSnapshotTask"`)
	}
	status, body := b.send("POST", "http://"+two+"/v1/batches?name=monday", nil, "Content-Type", "text/csv")
	if status != http.StatusUnprocessableEntity && status != http.StatusBadRequest {
		t.Errorf("an empty list: %d %s", status, body)
	}
	s.ok("enqueue", "room", "--app", "1400123480", "--room", "7", "--key", "k")
	b.sees("http://"+one+"/v1/batches", `"batches"`)

	// The web command processes no queue.
	queued := func() bool {
		_, body := b.send("GET", "http://"+one+"/asynqmon/api/queues", nil)
		return strings.Contains(body, `"tiwsnap-interactive"`)
	}
	redistest.Until(t, "the queue is seen", queued)
	if n := s.sim.State().Requests; n != 0 {
		t.Errorf("Tencent was called %d times without a worker", n)
	}
	s.worker()
	redistest.Until(t, "the worker works", func() bool { return s.sim.State().Tasks.Created == 1 })

	for _, secret := range []string{said[1], "argon2id$v="} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log has %s:\n%s", secret, log)
		}
	}
}

func TestWebRefuses(t *testing.T) {
	s := newSite(t, tiwtest.Options{})
	s.says(exitConfig, "TIWSNAP_HTTP_ADDR is empty", "web")
	s.environ["TIWSNAP_HTTP_ADDR"] = "0.0.0.0:8080"
	s.says(exitConfig, "TIWSNAP_HTTP_USERS: is missing", "web")
	addr, _ := s.web(nil)
	s.environ["TIWSNAP_HTTP_ADDR"] = addr
	s.says(exitUnavailable, "address already in use; choose another address with TIWSNAP_HTTP_ADDR or", "web")
	s.environ["TIWSNAP_REDIS_URL"] = "embedded"
	for _, command := range []string{"web", "status", "limit", "stop", "enqueue room --app 1 --room 1"} {
		s.says(exitConfig, "a Redis inside one worker", strings.Fields(command)...)
	}
}

func TestFirstLogin(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	dir := t.TempDir()
	read := func(name string) string {
		t.Helper()
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	word := func(out string) string {
		fields := strings.Fields(out)
		return fields[len(fields)-1]
	}
	opens := func(word string) bool { return password.Verify(strings.Fields(read("users"))[2], word) }

	out, _, code := tiwsnap(t, nil, "first-login", dir, "--url", "http://127.0.0.1:8080/")
	first, key := word(out), read("session_key")
	said := strings.HasPrefix(out, "pages     http://127.0.0.1:8080/\nuser      admin\n")
	if code != exitOK || !said || !opens(first) || len(key) < 32 {
		t.Fatalf("exit %d: %s", code, out)
	}
	if strings.Contains(read("users"), first) {
		t.Error("the password itself is kept")
	}
	out, errs, code := tiwsnap(t, nil, "first-login", dir)
	if code != exitOK || out != "" || !strings.Contains(errs, "exists and is kept") || !opens(first) {
		t.Errorf("again: exit %d, %q, %q", code, out, errs)
	}
	out, _, code = tiwsnap(t, nil, "first-login", dir, "--reset")
	second := word(out)
	if code != exitOK || second == first || !opens(second) || opens(first) || read("session_key") != key {
		t.Errorf("reset: exit %d, %q", code, out)
	}
	hash, err := password.Hash("a word of my own")
	if err != nil {
		t.Fatal(err)
	}
	own := []string{"TIWSNAP_HTTP_USERS=ada view,produce " + hash + "; bob operate " + hash}
	out, errs, code = tiwsnap(t, own, "first-login", dir)
	want := "ada view,produce " + hash + "\nbob operate " + hash + "\n"
	if code != exitOK || out != "" || read("users") != want {
		t.Errorf("users of one's own: exit %d, %q, %q, %s", code, out, errs, read("users"))
	}
	_, errs, code = tiwsnap(t, nil, "first-login", filepath.Join(dir, "nowhere"))
	if code != exitUnavailable || !strings.Contains(errs, "nowhere") {
		t.Errorf("no folder: exit %d, %q", code, errs)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".new-*")); left != nil {
		t.Errorf("left behind: %v", left)
	}
}

// SIGHUP reloads the users, the API key and the log level without a restart. Wrong settings change nothing.
func TestHangup(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	dir := t.TempDir()
	put := func(name, text string) string {
		t.Helper()
		name = filepath.Join(dir, name)
		err := os.WriteFile(name+".new", []byte(text), 0o600)
		if err == nil {
			err = os.Rename(name+".new", name)
		}
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	line := func(name, word string) string {
		hash, err := password.Hash(word)
		if err != nil {
			t.Fatal(err)
		}
		return name + " operate " + hash + "\n"
	}
	for _, command := range []string{"worker", "web"} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			settings := put(command+".yml", "log: {level: warn}\n")
			users := put(command+"-users", line("ada", "CANARY-old"))
			key := put(command+"-key", "CANARY-key-1")
			addr := redistest.FreeAddr(t)
			p := program(t, s.environ["TIWSNAP_REDIS_URL"], command)
			log := new(lines)
			p.Stderr = log
			p.Env = append(p.Env, "TIWSNAP_CONFIG="+settings, "TIWSNAP_HTTP_ADDR="+addr, "TIWSNAP_HTTP_USERS_FILE="+users,
				"TIWSNAP_TIW_ENDPOINT="+s.sim.URL, "TENCENTCLOUD_SECRET_ID=id", "TENCENTCLOUD_SECRET_KEY_FILE="+key,
				"TIWSNAP_WORKER_SPOOL="+t.TempDir())
			if err := p.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- p.Wait() }()
			defer func() {
				p.Process.Signal(syscall.SIGTERM)
				if err := <-ended; err != nil {
					t.Errorf("%v\n%s", err, log)
				}
			}()
			redistest.Until(t, "it lives", func() bool {
				_, _, code := tiwsnap(t, nil, "health", "--http-addr", addr)
				return code == exitOK
			})
			says := func(words ...string) {
				t.Helper()
				before := len(log.String())
				if err := p.Process.Signal(syscall.SIGHUP); err != nil {
					t.Fatal(err)
				}
				for _, w := range words {
					redistest.Until(t, "the log has "+w, func() bool { return strings.Contains(log.String()[before:], w) })
				}
			}
			b := &browser{T: t}
			if !b.logIn(addr, "ada", "CANARY-old") {
				t.Fatal("the old password does not open")
			}

			put(command+"-users", line("ada", "CANARY-new")+line("bob", "CANARY-bob"))
			put(command+"-key", "CANARY-key-2")
			put(command+".yml", "log: {level: debug}\nrate: {limit: 19}\n")
			says(`msg="SIGHUP: reloaded the settings" changed="tencentcloud.secret_key, http.users, log.level"`,
				`msg="changed settings need a restart" settings=rate.limit`)
			if status, _ := b.send("GET", "http://"+addr+"/v1/batches", nil); status != http.StatusUnauthorized {
				t.Errorf("the session of the old password: %d", status)
			}
			if (&browser{T: t}).logIn(addr, "ada", "CANARY-old") {
				t.Error("the old password still opens")
			}
			if !b.logIn(addr, "bob", "CANARY-bob") || !b.logIn(addr, "ada", "CANARY-new") {
				t.Error("the new passwords do not open")
			}

			put(command+"-users", "ada operate CANARY-no-hash\n")
			put(command+".yml", "log: {level: CANARY}\n")
			says(`level=ERROR msg="SIGHUP: reload failed, keeping the old settings"`,
				"TIWSNAP_HTTP_USERS_FILE: entry 1")
			if !(&browser{T: t}).logIn(addr, "ada", "CANARY-new") {
				t.Error("a wrong file has closed the door")
			}
			put(command+"-users", line("ada", "CANARY-new")+line("bob", "CANARY-bob"))
			put(command+".yml", "log: {level: error}\nrate: {limit: 19}\n")
			says(`msg="SIGHUP: reloaded the settings" changed="http.users, log.level"`)
			for _, secret := range []string{"CANARY-", "argon2id$v="} {
				if strings.Contains(log.String(), secret) {
					t.Errorf("the log has %s:\n%s", secret, log)
				}
			}
		})
	}
}
