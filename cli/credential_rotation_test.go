package cli

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tiwsnap/config"
	"tiwsnap/internal/needs"
	"tiwsnap/tiw"
	"tiwsnap/tiw/tiwtest"
)

// Keys are rotated during API calls: one file after the other, and all files at once as Kubernetes does. Each old key
// is revoked as soon as the new key is in use. No call may be rejected.
func TestKeyRotationFailsNoRequest(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	const callers, rotations = 8, 4
	version := func(v int) (id, key, token string) {
		s := strconv.Itoa(v)
		return "id-" + s, "key-" + s, "token-" + s
	}
	valid := func(versions ...int) map[string]tiwtest.Secret {
		keys := map[string]tiwtest.Secret{}
		for _, v := range versions {
			id, key, _ := version(v)
			keys[id] = tiwtest.Secret(key)
		}
		return keys
	}
	tokens := map[string]tiwtest.Secret{}
	for v := range rotations + 1 {
		id, _, token := version(v)
		tokens[id] = tiwtest.Secret(token)
	}
	sim := tiwtest.New(tiwtest.Options{Limit: -1, Credentials: valid(0), Tokens: tokens})
	defer sim.Close()

	// The server reports which key the requests use.
	var inUse atomic.Value
	changed := make(chan string, 100)
	inUse.Store("id-0")
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, id, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
		id, _, _ = strings.Cut(id, "/")
		if id != inUse.Swap(id) {
			changed <- id
		}
		sim.ServeHTTP(w, r)
	}))
	defer srv.Close()

	dir := t.TempDir()
	put := func(file, text string) {
		file = filepath.Join(dir, file)
		err := os.WriteFile(file+".new", []byte(text+"\n"), 0o600)
		if err == nil {
			err = os.Rename(file+".new", file)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	oneByOne := func(v int) {
		id, key, token := version(v)
		put("secret_id", id)
		put("secret_key", key)
		put("token", token)
	}
	allAtOnce := func(v int) {
		id, key, token := version(v)
		name := strconv.Itoa(v)
		err := os.Mkdir(filepath.Join(dir, name), 0o700)
		if err == nil {
			put(name+"/secret_id", id)
			put(name+"/secret_key", key)
			put(name+"/token", token)
			err = os.Symlink(name, filepath.Join(dir, "..next"))
		}
		if err == nil {
			err = os.Rename(filepath.Join(dir, "..next"), filepath.Join(dir, "..data"))
		}
		if err != nil {
			t.Fatal(err)
		}
	}

	oneByOne(0)
	environ := []string{"TIWSNAP_TIW_ENDPOINT=" + srv.URL}
	for _, name := range []string{"SECRET_ID", "SECRET_KEY", "TOKEN"} {
		environ = append(environ, "TENCENTCLOUD_"+name+"_FILE="+filepath.Join(dir, strings.ToLower(name)))
	}
	c, err := config.Load(config.Source{Environ: environ})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	api, err := newTIW(c, c.TencentCloud.Credential(slog.New(slog.NewTextHandler(&log, nil))))
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()

	var calls sync.RWMutex // read-locked while a call is in flight
	done := make(chan struct{})
	var all sync.WaitGroup
	defer all.Wait()
	defer close(done)
	task, app := probeTask, uint64(probeAppID)
	for range callers {
		all.Go(func() {
			for pause := time.NewTicker(2 * time.Millisecond); ; <-pause.C {
				select {
				case <-done:
					return
				default:
				}
				req := tiw.NewDescribeSnapshotTaskRequest()
				req.TaskID, req.SdkAppId = &task, &app
				calls.RLock()
				_, err := api.DescribeSnapshotTask(t.Context(), req)
				calls.RUnlock()
				var e *tiw.Error
				if !errors.As(err, &e) || e.Code != "InvalidParameter.TaskNotFound" { // the signature was valid
					t.Errorf("DescribeSnapshotTask() = %v, want TaskNotFound", err)
					return
				}
			}
		})
	}

	for v := 1; v <= rotations; v++ {
		sim.SetCredentials(valid(v-1, v))
		switch v {
		case 3: // the files become links
			allAtOnce(v)
			for _, name := range []string{"secret_id", "secret_key", "token"} {
				next := filepath.Join(dir, "next")
				if err := errors.Join(os.Symlink(filepath.Join("..data", name), next),
					os.Rename(next, filepath.Join(dir, name))); err != nil {
					t.Fatal(err)
				}
			}
		case 4:
			allAtOnce(v)
		default:
			oneByOne(v)
		}
		want, _, _ := version(v)
		for deadline := time.After(10 * time.Second); ; {
			select {
			case id := <-changed: // the last calls with the old key may arrive in between
				if id != want {
					continue
				}
			case <-deadline:
				t.Fatalf("%s is not in use after 10 s", want)
			}
			break
		}
		calls.Lock() // no call is in flight
		sim.SetCredentials(valid(v))
		calls.Unlock()
	}
	before := sim.State().Requests
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(10 * time.Second); sim.State().Requests < before+10*callers; {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("no requests within 10 s after the last rotation")
		}
	}
	for code, n := range sim.State().Codes {
		if strings.HasPrefix(code, "AuthFailure") {
			t.Errorf("%d requests were rejected with %s", n, code)
		}
	}
	if n := strings.Count(log.String(), "reloaded the API key"); n != rotations ||
		strings.Count(log.String(), "\n") != rotations {
		t.Errorf("%d rotations were logged, want %d:\n%s", n, rotations, log.String())
	}
}
