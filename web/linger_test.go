package web_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tiwsnap/internal/needs"
	"tiwsnap/web"
	"tiwsnap/web/webtest"
)

// A client that is still sending its list gets the error response, whatever its HTTP library. The response comes before
// the end of the list, and a reset must not discard it.
func TestErrorsReachClientsThatAreStillSending(t *testing.T) {
	needs.Time(t)
	const size = 16 << 20
	s := webtest.NewService(t)
	list := bytes.Repeat([]byte("7,1,a list that is far too long\n"), size/32)
	operate, view := s.Tokens[web.RoleOperate], s.Tokens[web.RoleView]
	rejections := []struct {
		reason, path, media, token string
		status                     int
	}{
		{"the webhook", "/v1/batches?webhook=https://a.example", "text/csv", operate, 422},
		{"the first line", "/v1/batches", "text/csv", operate, 422},
		{"the media type", "/v1/batches", "text/plain", operate, 415},
		{"the token", "/v1/batches", "text/csv", "wrong", 401},
		{"the role", "/v1/batches", "text/csv", view, 403},
		{"the path", "/v1/nothing", "text/csv", operate, 404},
		{"the size of one room", "/v1/snapshots", "application/json", operate, 413},
	}
	checkStatus := func(t *testing.T, got string, status int) {
		t.Helper()
		if !strings.Contains(got, fmt.Sprintf(`"status":%d,`, status)) {
			t.Errorf("the client did not get the status %d:\n%.2000s", status, got)
		}
	}
	file := filepath.Join(t.TempDir(), "list.csv")
	if err := os.WriteFile(file, list, 0o600); err != nil {
		t.Fatal(err)
	}
	runTool := func(t *testing.T, name string, args ...string) string {
		t.Helper()
		path := needs.Program(t, name)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		return string(out)
	}
	clients := map[string]func(t *testing.T, path, media, token string) string{
		"Go": func(t *testing.T, path, media, token string) string {
			var all string
			for _, length := range []int64{size, -1} {
				r, err := http.NewRequestWithContext(t.Context(), "POST", s.URL+path, io.NopCloser(bytes.NewReader(list)))
				if err != nil {
					t.Fatal(err)
				}
				r.ContentLength = length
				r.Header.Set("Content-Type", media)
				r.Header.Set("Authorization", "Bearer "+token)
				resp, err := s.Client.Do(r)
				if err != nil {
					t.Errorf("length %d: %v", length, err)
					continue
				}
				b, err := io.ReadAll(resp.Body)
				if err != nil {
					t.Errorf("length %d: %v", length, err)
				}
				resp.Body.Close()
				all += string(b)
			}
			return all
		},
		// Like many clients, it reads the response only after it has sent everything.
		"sends everything first": func(t *testing.T, path, media, token string) string {
			conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(30 * time.Second))
			fmt.Fprintf(conn,
				"POST %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n",
				path, token, media, size)
			if _, err := conn.Write(list); err != nil {
				t.Errorf("while sending: %v", err)
			}
			b, err := io.ReadAll(conn)
			if err != nil {
				t.Errorf("read the response: %v", err)
			}
			return string(b)
		},
		"curl": func(t *testing.T, path, media, token string) string {
			return runTool(t, "curl", "-sS", "--noproxy", "*", s.URL+path, "-H", "Authorization: Bearer "+token,
				"-H", "Content-Type: "+media, "--data-binary", "@"+file)
		},
		"curl without Expect": func(t *testing.T, path, media, token string) string {
			return runTool(t, "curl", "-sS", "--noproxy", "*", s.URL+path, "-H", "Authorization: Bearer "+token,
				"-H", "Content-Type: "+media,
				"-H", "Expect:", "-H", "Transfer-Encoding: chunked", "-X", "POST", "-T", file)
		},
		"fetch of Node": func(t *testing.T, path, media, token string) string {
			return runTool(t, "node", "--input-type=module", "-e", `
import { createReadStream, readFileSync } from 'node:fs';
const [url, media, token, file] = process.argv.slice(1);
for (const body of [readFileSync(file), createReadStream(file)]) {
  const response = await fetch(url, {
    method: 'POST', headers: { 'Content-Type': media, Authorization: 'Bearer ' + token }, body, duplex: 'half' });
  console.log(await response.text());
}`, s.URL+path, media, token, file)
		},
		"http of Node": func(t *testing.T, path, media, token string) string {
			return runTool(t, "node", "--input-type=module", "-e", `
import { createReadStream } from 'node:fs';
import { request } from 'node:http';
const [url, media, token, file] = process.argv.slice(1);
const r = request(url, { method: 'POST', headers: { 'Content-Type': media, Authorization: 'Bearer ' + token } });
let seen = false;
r.on('response', (response) => { seen = true; response.pipe(process.stdout); });
r.on('error', (err) => { if (!seen) throw err; });
createReadStream(file).pipe(r);`, s.URL+path, media, token, file)
		},
	}
	for name, send := range clients {
		for _, r := range rejections {
			t.Run(name+"/"+r.reason, func(t *testing.T) { checkStatus(t, send(t, r.path, r.media, r.token), r.status) })
		}
	}
	if n := s.Batches(); n != 0 {
		t.Errorf("%d batches were created, want none", n)
	}
}
