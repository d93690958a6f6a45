package cli

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/password"
	"tiwsnap/internal/redistest"
	"tiwsnap/schedule"
	"tiwsnap/tasks"
	"tiwsnap/tiw/tiwtest"
)

// Every secret contains a canary, and as many paths as possible succeed or fail. No output may show a canary: logs,
// pages, responses, output of commands, webhooks, the spool, and everything ever written to Redis.
func TestNoSecretIsShown(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	out := &outputs{all: map[string]*bytes.Buffer{}}
	server := redistest.Real(t, "--appendonly", "yes", "--aof-use-rdb-preamble", "no", "--user", "worker", "on",
		">"+canary+"redis", "~*", "&*", "+@all")
	sim := tiwtest.Start(t, tiwtest.Options{
		Credentials: map[string]tiwtest.Secret{canary + "id": canary + "key"},
		Tokens:      map[string]tiwtest.Secret{canary + "id": canary + "token"},
		Window:      tiwtest.Sliding, TaskDuration: 50 * time.Millisecond, TaskFailure: 0.2,
		Faults: tiwtest.Faults{Cut: 0.1, InternalErrorCreated: 0.1, HTML: 0.1, CallbackDouble: 0.5},
	})
	events := make(chan string, 1000)
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		out.add("a webhook", fmt.Sprint(r.Header, string(b)))
		if strings.Contains(string(b), `"snapshot.ended"`) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(http.StatusFound) // it is not followed: this webhook stays dead
			return
		}
		select {
		case events <- string(b):
		default: // what arrives after everything that the test waits for
		}
	}))
	t.Cleanup(hook.Close)
	portal := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/"+canary+"good" || r.Header.Get("Authorization") != "Bearer "+canary+"portal" {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		io.WriteString(w, "RoomId\n1\n2\nx\n")
	}))
	t.Cleanup(portal.Close)

	dir := t.TempDir()
	file := func(name, text string) string {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	const ownHook = "OWNHOOK" // from the producer: Redis has to keep it
	config := file("tiwsnap.yml", `schedules:
- {name: good, cron: "* * * * *",
   rooms: {url: "`+portal.URL+`/`+canary+`good", token_file: "`+file("portal", canary+"portal")+`"},
   defaults: {SdkAppId: 1400123480, CallbackURL: "`+hook.URL+`/`+ownHook+`?a=`+ownHook+`"}}
- {name: never, cron: "0 0 29 2 *", rooms: {list: [{RoomId: 1, SdkAppId: 1, CallbackURL: "`+hook.URL+`/`+ownHook+`"}]}}
- {name: bad, cron: "* * * * *",
   rooms: {url: "`+portal.URL+`/`+canary+`bad?key=`+canary+`", token: `+canary+`wrong},
   defaults: {SdkAppId: 1400123480}}
`)
	hash, err := password.Hash(canary + "password")
	if err != nil {
		t.Fatal(err)
	}
	token := password.NewToken()
	addr, callbacks := redistest.FreeAddr(t), redistest.FreeAddr(t)
	hookHost := strings.TrimPrefix(hook.URL, "http://")
	secretOf := func(name string) string {
		return "whsec_" + base64.StdEncoding.EncodeToString([]byte(canary+name+"0123456789012345"))
	}
	s := site{t, server.URL(), sim, map[string]string{
		"TIWSNAP_CONFIG":               config,
		"TIWSNAP_REDIS_URL":            "redis://worker:" + canary + "redis@" + server.Addr + "/0",
		"TIWSNAP_TIW_ENDPOINT":         sim.URL,
		"TENCENTCLOUD_SECRET_ID":       canary + "id",
		"TENCENTCLOUD_SECRET_KEY_FILE": file("key", canary+"key"),
		"TENCENTCLOUD_TOKEN":           canary + "token",
		"TIWSNAP_CALLBACK_URL":         "http://" + callbacks,
		"TIWSNAP_CALLBACK_ADDR":        callbacks,
		"TIWSNAP_CALLBACK_KEY":         canary + "-callbacks-0123456789-0123456789",
		"TIWSNAP_CALLBACK_KEY_OLD":     canary + "-old-callbacks-0123456789-012345",
		"TIWSNAP_HTTP_ADDR":            addr,
		"TIWSNAP_HTTP_SESSION_KEY":     canary + "-session-0123456789-0123456789",
		"TIWSNAP_HTTP_USERS":           "ada operate " + hash,
		"TIWSNAP_HTTP_TOKENS":          "lms operate " + password.HashToken(token),
		"TIWSNAP_WEBHOOK_URL":          hook.URL + "/" + canary + "hook?key=" + canary,
		"TIWSNAP_WEBHOOK_SECRET":       secretOf("new"),
		"TIWSNAP_WEBHOOK_SECRET_OLD":   secretOf("old"),
		"TIWSNAP_WEBHOOK_ALLOW":        hookHost,
		"TIWSNAP_WEBHOOK_PRIVATE":      "127.0.0.1",
		"TIWSNAP_WEBHOOK_HTTP":         "true",
		"TIWSNAP_CONFIRM_AFTER":        "200ms",
		"TIWSNAP_TIW_TIMEOUT":          "1s",
		"TIWSNAP_UNKNOWN_GRACE":        "1s",
		"TIWSNAP_WORKER_ATTEMPTS":      "3",
		"TIWSNAP_WORKER_SPOOL":         filepath.Join(dir, "spool"),
		"TIWSNAP_LOG_LEVEL":            "debug",
	}}
	with := func(change map[string]string) site {
		other := s
		other.environ = maps.Clone(s.environ)
		maps.Copy(other.environ, change)
		return other
	}
	record := func(s site, args ...string) {
		t.Helper()
		code, stdout, stderr := s.run("", args...)
		out.add("tiwsnap "+strings.Join(args, " "), fmt.Sprint(code, stdout, stderr))
	}

	// Both schedules are due, and one of them is given up.
	client := redis.NewClient(&redis.Options{Addr: server.Addr, Username: "worker", Password: canary + "redis"})
	defer client.Close()
	store := schedule.NewStore(client, keys.Default)
	for _, name := range []string{"good", "bad"} {
		it := schedule.Schedule{Name: name, Cron: "* * * * *", Zone: "UTC"}
		_, now, err := store.State(t.Context(), it)
		if err != nil {
			t.Fatal(err)
		}
		tick := now.Truncate(time.Minute)
		if _, err := store.Settle(t.Context(), it,
			schedule.Outcome{Tick: tick.Add(-time.Minute), Result: schedule.Enqueued}); err != nil {
			t.Fatal(err)
		}
		if name == "bad" {
			if err := store.Try(t.Context(), it,
				schedule.Trying{Tick: tick, Begun: now.Add(-time.Hour), RetryAt: now, Failures: 9}); err != nil {
				t.Fatal(err)
			}
		}
	}

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var workers sync.WaitGroup
	for log, s := range map[string]site{
		"the log of a worker": s,
		"the log of a worker as JSON": with(map[string]string{"TIWSNAP_LOG_FORMAT": "json", "TIWSNAP_HTTP_ADDR": "",
			"TIWSNAP_METRICS_ADDR":  redistest.FreeAddr(t),
			"TIWSNAP_CALLBACK_ADDR": redistest.FreeAddr(t)}),
	} {
		workers.Go(func() {
			if code := run(ctx, []string{"worker"},
				env{strings.NewReader(""), out.writerTo(log), out.writerTo(log), variables(s.environ)}); code != exitOK {
				t.Errorf("%s: exit code %d", log, code)
			}
		})
	}
	redistest.Until(t, "a worker serves HTTP", func() bool { return out.contains("the log of a worker", "serving HTTP") })

	// Programs and users log in, and some requests are unauthorized.
	web := &http.Client{
		Timeout:       time.Minute,
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	cookie := ""
	send := func(method, path, body string, header ...string) (status int) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+addr+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := web.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range resp.Cookies() {
			cookie = c.Name + "=" + c.Value
		}
		resp.Header.Del("Set-Cookie") // the owner may see it
		out.add(method+" "+path, fmt.Sprint(resp.Status, resp.Header, string(text)))
		return resp.StatusCode
	}
	form := func(word string) string { return url.Values{"name": {"ada"}, "password": {word}}.Encode() }
	const isForm = "application/x-www-form-urlencoded"
	for what, got := range map[string]int{
		"a wrong password": send("POST", "/login", form(canary+"wrong"), "Content-Type", isForm),
		"a wrong token":    send("GET", "/v1/batches", "", "Authorization", "Bearer "+canary),
		"a wrong cookie":   send("GET", "/v1/batches", "", "Cookie", "tiwsnap="+canary),
	} {
		if got < 400 {
			t.Errorf("%s: status %d", what, got)
		}
	}
	if got := send("POST", "/login", form(canary+"password"), "Content-Type", isForm); got != http.StatusSeeOther ||
		cookie == "" {
		t.Fatalf("login: status %d", got)
	}
	bearer := []string{"Authorization", "Bearer " + token}
	list := "SdkAppId,RoomId,CallbackURL\n"
	for n := range 30 {
		list += fmt.Sprintf("1400123480,%d,%s/%s\n", n+1, hook.URL, ownHook)
	}
	if got := send("POST", "/v1/batches?name=own&webhook="+url.QueryEscape(hook.URL+"/"+ownHook), list,
		append(bearer, "Content-Type", "text/csv")...); got != http.StatusAccepted {
		t.Fatalf("POST /v1/batches: status %d", got)
	}
	send("POST", "/v1/batches?name=elsewhere&webhook="+url.QueryEscape("http://elsewhere.example/"+ownHook), list,
		append(bearer, "Content-Type", "text/csv")...)
	send("POST", "/v1/batches?name=elsewhere&CallbackURL="+url.QueryEscape("http://elsewhere.example/"+ownHook), list,
		append(bearer, "Content-Type", "text/csv")...)
	send("POST", "/v1/snapshots",
		`{"SdkAppId":1400123480,"RoomId":78,"CallbackURL":"http://elsewhere.example/`+ownHook+`"}`,
		append(bearer, "Content-Type", "application/json")...)
	send("POST", "/v1/snapshots", `{"SdkAppId":1400123480,"RoomId":77}`,
		append(bearer, "Content-Type", "application/json", "Idempotency-Key", "once")...)

	// Redis fails in the middle.
	redistest.Until(t, "part of the batch is sent", func() bool { return sim.State().Tasks.Created > 10 })
	server.Kill()
	redistest.Until(t, "the workers report that Redis is unavailable", func() bool {
		return out.contains("the log of a worker", "backlog not read")
	})
	record(s, "status")
	record(s, "doctor")
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	record(s, "wait", "own")
	for seen := map[string]bool{}; !seen[tasks.BatchEnded] || !seen[tasks.ScheduleFailed]; {
		select {
		case body := <-events:
			var event struct{ Type string }
			if err := json.Unmarshal([]byte(body), &event); err != nil {
				t.Fatal(err)
			}
			seen[event.Type] = true
		case <-time.After(2 * time.Minute):
			t.Fatalf("webhooks within two minutes: %v, want the ends of a batch and of a schedule", seen)
		}
	}

	for _, path := range []string{
		"/", "/login", "/docs", "/openapi.json", "/livez", "/readyz", "/metrics",
		"/v1/batches", "/v1/batches/own", "/v1/batches/own/snapshots", "/v1/batches/own/events", "/v1/snapshots/own.1",
		"/v1/failures", "/v1/find?q=1", "/v1/limit", "/v1/schedules", "/v1/nothing",
		"/asynqmon/", "/asynqmon/api/queues", "/asynqmon/api/servers", "/asynqmon/api/redis_info",
		"/asynqmon/api/queue_stats",
		"/asynqmon/api/queues/tiwsnap-webhooks/archived_tasks", "/asynqmon/api/queues/tiwsnap-webhooks/completed_tasks",
		"/asynqmon/api/queues/tiwsnap-webhooks/retry_tasks",
	} {
		if status := send("GET", path, "", "Cookie", cookie); status >= 500 {
			t.Errorf("%s: status %d", path, status)
		}
	}
	for _, args := range [][]string{
		{"config", "print"}, {"config", "check"}, {"doctor"}, {"doctor", "-o", "json"}, {"status"}, {"status", "own"},
		{"status", "own", "-o", "jsonl"}, {"failures"}, {"limit"},
		{"webhooks"}, {"webhooks", "-o", "json"}, {"schedule", "list"}, {"schedule", "list", "-o", "json"},
		{"schedule", "run", "good"}, {"schedule", "run", "bad"},
		{"enqueue", "batch", "nothing.csv", "--webhook", "http://elsewhere.example/" + ownHook},
		{"enqueue", "room", "--app", "1", "--room", "1", "--callback-url", "http://elsewhere.example/" + ownHook},
		{"enqueue", "room", "--app", "1", "--room", "1", "--callback-url", "ftp://elsewhere.example/" + ownHook},
		{"status", "own.1", "-o", "json"},
	} {
		record(s, args...)
	}
	stop()
	workers.Wait()

	// Errors in the settings are reported without the values.
	for _, change := range []map[string]string{
		{"TIWSNAP_REDIS_URL": "redis://worker:" + canary + "@" + server.Addr + "/0"},
		{"TIWSNAP_REDIS_URL": "redis://worker:" + canary + "%zz@" + server.Addr + "/0"},
		{"TIWSNAP_REDIS_URL": "http://worker:" + canary + "@" + server.Addr},
		{"TIWSNAP_REDIS_URL": "rediss://worker:" + canary + "@" + server.Addr},
		{"TIWSNAP_REDIS_URL": "redis+sentinel://worker:" + canary + "@" + server.Addr + "/main/0"},
		{"TIWSNAP_REDIS_URL": "redis+cluster://worker:" + canary + "@" + server.Addr},
		{"TIWSNAP_TIW_ENDPOINT": "https://user:" + canary + "@example.com"},
		{"TIWSNAP_TIW_CALLBACK_URL": "https://user:" + canary + "@example.com/" + canary},
		{"TIWSNAP_CALLBACK_URL": "https://user:" + canary + "@example.com"},
		{"TIWSNAP_CALLBACK_KEY": canary},
		{"TIWSNAP_HTTP_SESSION_KEY": canary},
		{"TIWSNAP_HTTP_USERS": "ada operate " + canary},
		{"TIWSNAP_HTTP_TOKENS": "ada " + canary + "-hash operate"},
		{"TIWSNAP_WEBHOOK_URL": "https://user:" + canary + "@example.com"},
		{"TIWSNAP_WEBHOOK_URL": "ftp://example.com/" + canary},
		{"TIWSNAP_WEBHOOK_SECRET": canary},
		{"TIWSNAP_WEBHOOK_ALLOW": "user:" + canary + "@example.com"},
		{"TENCENTCLOUD_SECRET_KEY_FILE": "", "TENCENTCLOUD_SECRET_KEY": canary + "\nkey"},
		{"TENCENTCLOUD_TOKEN": canary + " token"},
		{"TENCENTCLOUD_SECRET_ID": canary + "unknown"},
		{"TENCENTCLOUD_SECRET_KEY_FILE": "", "TENCENTCLOUD_SECRET_KEY": canary + "wrong"},
		{"TIWSNAP_CONFIG": file("userinfo.yml",
			"schedules: [{name: a, cron: '* * * * *', rooms: {url: 'https://user:"+canary+"@example.com'}}]")},
		{"TIWSNAP_CONFIG": file("unknown.yml",
			"webhook: {secret: ["+canary+"]}\ntencentcloud: {secret_key: {"+canary+": x}}\n")},
	} {
		s := with(change)
		record(s, "config", "check")
		record(s, "config", "print")
		record(s, "doctor")
	}
	record(s, "doctor", "--redis-url", "redis://worker:"+canary+"@"+server.Addr+"/0")
	record(s, "worker", "--redis-url", "redis://worker:"+canary+"@"+server.Addr+"/0")

	// No output may have any of the words or the webhook URL of a batch. Redis and the spool may have only the webhook
	// URL.
	words := encodings(canary)
	maps.Copy(words, map[string]string{
		"a session":             strings.SplitN(cookie, "=", 2)[1],
		"a token":               token,
		"the hash of a token":   password.HashToken(token),
		"the hash of ada":       hash[strings.LastIndex(hash, "$"):],
		"the URL of a callback": "/cb/v1/",
	})
	for _, found := range out.find(maps.Collect(func(yield func(string, string) bool) {
		maps.All(words)(yield)
		yield("the webhook URL of a batch", ownHook)
	})) {
		t.Error(found)
	}
	stored := &outputs{all: map[string]*bytes.Buffer{}}
	for _, dir := range []string{server.Dir, filepath.Join(dir, "spool")} {
		if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // nothing had to be spooled
			}
			if err != nil || d.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			stored.add(path, string(text))
			return err
		}); err != nil {
			t.Error(err)
		}
	}
	for _, found := range stored.find(words) {
		t.Error(found)
	}
	// These checks show that the search covers the right places.
	for what, found := range map[string]bool{
		"the append-only file":  len(stored.find(map[string]string{"": "HSET"})) > 0,
		"the webhook URL in it": len(stored.find(map[string]string{"": ownHook})) > 0,
		"an archived webhook":   out.contains("GET /asynqmon/api/queues/tiwsnap-webhooks/archived_tasks", "w-snapshot-own_"),
		"a failed tick":         out.contains("tiwsnap schedule list", "it answers 503"),
		"a page":                out.contains("GET /", "<html"),
		"metrics":               out.contains("GET /metrics", "tiwsnap_"),
	} {
		if !found {
			t.Errorf("the search did not cover %s", what)
		}
	}
}
