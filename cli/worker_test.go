package cli

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"tiwsnap/config"
	"tiwsnap/internal/needs"
	"tiwsnap/tiw"
	"tiwsnap/tiw/tiwtest"
)

const (
	callbackKey    = "CANARY-key-0123456789-0123456789-0123456789"
	callbackKeyOld = "CANARY-old-0123456789-0123456789-0123456789"
)

func TestCallbackURL(t *testing.T) {
	load := func(environ ...string) config.Config {
		c, err := config.Load(config.Source{Environ: environ})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	t.Run("not set by default", func(t *testing.T) {
		if callbackURL(load()) != nil {
			t.Error("callbackURL() is set by default")
		}
	})
	t.Run("one URL for each attempt, valid for 72 hours, with either key", func(t *testing.T) {
		c := load("TIWSNAP_CALLBACK_ADDR=:8081", "TIWSNAP_CALLBACK_URL=https://example.org/tiw/",
			"TIWSNAP_CALLBACK_KEY="+callbackKey, "TIWSNAP_CALLBACK_KEY_OLD="+callbackKeyOld)
		began := time.Now().Truncate(time.Second)
		path, ok := strings.CutPrefix(callbackURL(c)("monday.17", 3), "https://example.org/tiw/cb/")
		if !ok {
			t.Fatal("the URL does not begin with the base URL")
		}
		for _, test := range []struct {
			keys  tiw.CallbackKeys
			now   time.Time
			valid bool
		}{
			{callbackKeys(c), began.Add(72 * time.Hour), true},
			{callbackKeys(c), time.Now().Add(72*time.Hour + time.Second), false},
			{tiw.NewCallbackKeys(callbackKey), began, true},
			{tiw.NewCallbackKeys(callbackKeyOld), began, false},
		} {
			if snapshot, attempt, err := test.keys.Verify("/cb/"+path, test.now); (err == nil) != test.valid ||
				test.valid && (snapshot != "monday.17" || attempt != 3) {
				t.Errorf("Verify() = %q, %d, %v, want valid: %t", snapshot, attempt, err, test.valid)
			}
		}
		if _, _, err := callbackKeys(c).Verify(tiw.NewCallbackKeys(callbackKeyOld).URL("", "monday.17", 3, began),
			began); err != nil {
			t.Errorf("URL with the old key: %v", err)
		}
	})
}

func TestWorkerListensForCallbacks(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	addr := l.Addr().String()
	s := newSite(t, tiwtest.Options{})
	s.environ["TIWSNAP_CALLBACK_ADDR"] = addr
	s.environ["TIWSNAP_CALLBACK_URL"] = "http://" + addr
	s.environ["TIWSNAP_CALLBACK_KEY"] = callbackKey

	t.Run("address in use: exit code 69 with the reason", func(t *testing.T) {
		code, _, stderr := s.run("", "worker")
		if code != exitUnavailable ||
			!strings.Contains(stderr,
				"tiwsnap: callbacks: listen tcp "+addr+": bind: address already in use; choose another address with "+
					"TIWSNAP_CALLBACK_ADDR or") {
			t.Errorf("worker: exit code %d: %s", code, stderr)
		}
	})

	t.Run("from start to stop", func(t *testing.T) {
		l.Close()
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var out, errs strings.Builder
		ended := make(chan int)
		go func() {
			ended <- run(ctx, []string{"worker", "--log-level", "debug"}, env{
				strings.NewReader(""), &out, &errs, variables(s.environ),
			})
		}()
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		post := func(url string) (status int, err error) {
			resp, err := client.Post(url, "application/json", strings.NewReader(`{"TaskID":"t-1"}`))
			if err != nil {
				return 0, err
			}
			return resp.StatusCode, resp.Body.Close()
		}
		again := time.NewTicker(20 * time.Millisecond)
		defer again.Stop()
		deadline := time.After(10 * time.Second)
		for up := false; !up; {
			select {
			case <-deadline:
				t.Fatal("the worker does not listen after 10 s")
			case code := <-ended:
				t.Fatalf("exit code %d: %s", code, errs.String())
			case <-again.C:
				status, err := post("http://" + addr + "/cb/v1/forged")
				if up = err == nil; up && status != http.StatusNotFound {
					t.Errorf("forged callback: status %d, want 404", status)
				}
			}
		}
		signed := tiw.NewCallbackKeys(callbackKey).URL("http://"+addr, "monday.17", 1, time.Now().Add(time.Hour))
		// The ledger decides whether it records a callback for an unknown snapshot. The callback must reach the ledger.
		if status, err := post(signed); err != nil || status != http.StatusOK && status != http.StatusServiceUnavailable {
			t.Errorf("valid callback: status %d, %v", status, err)
		}
		stop()
		if code := <-ended; code != exitOK {
			t.Errorf("exit code %d", code)
		}
		if _, err := net.Dial("tcp", addr); err == nil {
			t.Error("the address still accepts connections")
		}
		u, err := url.Parse(signed)
		if err != nil {
			t.Fatal(err)
		}
		token := u.Path[strings.LastIndex(u.Path, "/"):]
		if log := errs.String(); strings.Contains(log, "CANARY") || strings.Contains(log, token) ||
			!strings.Contains(log, "listening for callbacks") {
			t.Errorf("the log shows a secret, or lacks the start:\n%s", log)
		}
	})
}

func TestWorkerReportsBadSettings(t *testing.T) {
	s := newSite(t, tiwtest.Options{})
	delete(s.environ, "TENCENTCLOUD_SECRET_ID")
	s.environ["TIWSNAP_RATE_LIMIT"] = "0"
	s.environ["TIWSNAP_WORKER_CONCURENCY"] = "4"
	code, _, stderr := s.run("", "worker")
	if code != exitConfig {
		t.Errorf("exit code %d, want %d", code, exitConfig)
	}
	for _, want := range []string{"TENCENTCLOUD_SECRET_ID", "TIWSNAP_RATE_LIMIT", "TIWSNAP_WORKER_CONCURENCY"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("stderr lacks %s: %s", want, stderr)
		}
	}
}
