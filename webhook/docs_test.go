package webhook_test

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"tiwsnap/internal/needs"
)

// verify is the Go example of docs/webhooks.md.
func verify(secret string, header http.Header, body []byte) error {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		return err
	}
	id, sent := header.Get("webhook-id"), header.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(sent, 10, 64)
	if err != nil || time.Since(time.Unix(seconds, 0)).Abs() > 5*time.Minute {
		return errors.New("not sent within five minutes")
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + sent + "."))
	mac.Write(body)
	want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	for _, got := range strings.Fields(header.Get("webhook-signature")) {
		if hmac.Equal([]byte(got), []byte(want)) {
			return nil
		}
	}
	return errors.New("not signed with this secret")
}

// example returns the code in docs/webhooks.md for one language.
func example(t *testing.T, language string) string {
	t.Helper()
	text, err := os.ReadFile("../docs/webhooks.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\n```"+language+"\n")
	code, _, ok := strings.Cut(rest, "\n```\n")
	if !ok {
		t.Fatalf("docs/webhooks.md has no example in %s", language)
	}
	return code
}

func TestGoExample(t *testing.T) {
	here, err := os.ReadFile("docs_test.go")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(here), "\n"+example(t, "go")+"\n") {
		t.Error("verify in docs/webhooks.md differs from the one in this file")
	}

	at := time.Now()
	got := make(chan http.Header, 1)
	server := serve(t, func(_ http.ResponseWriter, r *http.Request) { got <- r.Header })
	if err := newSender(t, loopback(t), server.URL).Send(t.Context(), server.URL, "w-1", at, noBody); err != nil {
		t.Fatal(err)
	}
	header := <-got
	if err := verify(secretA, header, noBody); err != nil {
		t.Error(err)
	}
	for what, change := range map[string]func(h http.Header) (string, []byte){
		"another secret": func(http.Header) (string, []byte) { return secretB, noBody },
		"another body":   func(http.Header) (string, []byte) { return secretA, []byte("{ }") },
		"another id":     func(h http.Header) (string, []byte) { h.Set("webhook-id", "w-2"); return secretA, noBody },
		"another time": func(h http.Header) (string, []byte) {
			h.Set("webhook-timestamp", strconv.FormatInt(at.Unix()+1, 10))
			return secretA, noBody
		},
		"no signature": func(h http.Header) (string, []byte) { h.Del("webhook-signature"); return secretA, noBody },
	} {
		h := header.Clone()
		secret, body := change(h)
		if verify(secret, h, body) == nil {
			t.Errorf("verify() accepted %s", what)
		}
	}
}

func TestNodeExample(t *testing.T) {
	node := needs.Program(t, "node")
	file := filepath.Join(t.TempDir(), "receiver.mjs")
	if err := os.WriteFile(file, []byte(example(t, "js")), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), node, file)
	cmd.Env = append(os.Environ(), "PORT=0", "WEBHOOK_SECRET="+secretA)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
	}()
	lines := bufio.NewScanner(stdout)
	line := func() string {
		if !lines.Scan() {
			t.Fatalf("node exited: %s", stderr.String())
		}
		return lines.Text()
	}
	address := "http://127.0.0.1:" + strings.TrimPrefix(line(), "listening on ")
	send := func(at time.Time, secrets ...string) error {
		o := loopback(t)
		for _, s := range secrets {
			o.Secrets = append(o.Secrets, parseSecret(t, s))
		}
		return newSender(t, o, address).Send(t.Context(), address, "w-snapshot-a_1-1", at,
			[]byte(`{"type":"snapshot.ended","data":{"id":"a.1"}}`))
	}
	for _, secrets := range [][]string{{secretA}, {secretB, secretA}} {
		if err := send(time.Now(), secrets...); err != nil {
			t.Error(err)
		} else if got := line(); got != "w-snapshot-a_1-1 snapshot.ended a.1" {
			t.Errorf("output = %q", got)
		}
	}
	for what, err := range map[string]error{
		"another secret": send(time.Now(), secretB),
		"an old request": send(time.Now().Add(-6*time.Minute), secretA),
	} {
		if e := sendError(t, err); e.Status != http.StatusUnauthorized {
			t.Errorf("%s: error = %v, want 401", what, err)
		}
	}
	if resp, err := http.Post(address, "application/json", strings.NewReader("{}")); err != nil ||
		resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("an unsigned request: response %v, %v, want 401", resp, err)
	} else {
		resp.Body.Close()
	}
}
