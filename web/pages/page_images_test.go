package pages_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"html"
	"image"
	"image/color"
	"image/png"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"tiwsnap/enqueue"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/password"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
	"tiwsnap/web"
	"tiwsnap/web/api"
	"tiwsnap/web/webtest"
)

// A share link shows the images of its batch, and nothing else, to anyone who has it.
func TestShareLinkShowsOnlyItsImages(t *testing.T) {
	var pic bytes.Buffer
	if err := png.Encode(&pic, image.NewPaletted(image.Rect(0, 0, 1280, 720), color.Palette{color.White})); err != nil {
		t.Fatal(err)
	}
	host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(pic.Bytes()) }))
	t.Cleanup(host.Close)
	rdb := redistest.Client(t)
	webtest.School(t, rdb, "monday", 60)
	webtest.School(t, rdb, "secret", 60)
	l := ledger.New(rdb, ledger.Options{})
	webtest.SucceedWith(t, l, "monday", 7, host.URL+"/1.png")

	auth, err := web.NewAuth(web.AuthOptions{Tokens: []web.Token{
		{Name: "ada", Hash: password.HashToken("tiw_view"), Roles: []web.Role{web.RoleView}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	o := api.Options{Redis: rdb, Ledger: l}
	webtest.WithSimulator(t)(&o)
	h, stop := webtest.Handler(auth, o)
	t.Cleanup(stop)

	w := webtest.Send(t, h, "/batches/monday/share", url.Values{"days": {"7"}}, "Authorization", "Bearer tiw_view")
	if w.Code != http.StatusSeeOther {
		t.Fatalf("POST /batches/monday/share: status %d, want 303:\n%s", w.Code, w.Body)
	}
	body := webtest.Ask(t, h, "GET", w.Header().Get("Location"), "Accept", "text/html", "Authorization",
		"Bearer tiw_view").Body.String()
	m := regexp.MustCompile(`value="http://[^/"]+(/images/[^"]+)"`).FindStringSubmatch(body)
	if m == nil {
		t.Fatalf("the page lacks the share link:\n%s", body)
	}
	link := html.UnescapeString(m[1])
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	get := func(path string) *httptest.ResponseRecorder {
		r, err := http.NewRequestWithContext(t.Context(), "GET", srv.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", "text/html")
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		w := httptest.NewRecorder()
		w.Code = resp.StatusCode
		if _, err := io.Copy(w.Body, resp.Body); err != nil {
			t.Fatal(err)
		}
		return w
	}

	page := get(link)
	if body := page.Body.String(); page.Code != 200 || !strings.Contains(body, "高二（3）班") ||
		strings.Contains(body, "/snapshots/") || strings.Contains(body, `href="/batches`) {
		t.Errorf("the shared page: status %d, want 200 with labels and without links to other pages:\n%s", page.Code, body)
	}
	for path, status := range map[string]int{
		link + "/7/1": 200, link + "/7/1?width=320": 200, link + "/7/2": 404, link + "/8/1": 404, link + "/61/1": 404,
		link + "/0/1":           404,
		link + "/7/1?width=480": 404, "/batches/monday": http.StatusSeeOther,
		"/v1/snapshots/monday.7/images/1": http.StatusSeeOther,
	} {
		if w := get(path); w.Code != status {
			t.Errorf("GET %s: status %d, want %d:\n%s", path, w.Code, status, w.Body)
		}
	}
	// A link is invalid if its batch, expiry or signature is changed.
	field := strings.Split(strings.TrimPrefix(link, "/images/"), ".")
	for _, bad := range []string{
		base64.RawURLEncoding.EncodeToString([]byte("secret")) + "." + field[1] + "." + field[2],
		field[0] + ".zzzzzzz." + field[2], field[0] + ".1." + field[2], field[0] + "." + field[1] + ".x", "x",
	} {
		if w := get("/images/" + bad); w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "has expired") {
			t.Errorf("GET /images/%s: status %d, want 404 and the reason:\n%s", bad, w.Code, w.Body)
		}
		if w := get("/images/" + bad + "/7/1"); w.Code != http.StatusNotFound {
			t.Errorf("GET /images/%s/7/1: status %d, want 404", bad, w.Code)
		}
	}
	// A new key invalidates the link.
	if err := auth.Replace(nil,
		[]web.Token{{Name: "ada", Hash: password.HashToken("x"), Roles: []web.Role{web.RoleView}}},
		strings.Repeat("k", 32)); err != nil {
		t.Fatal(err)
	}
	if w := get(link); w.Code != http.StatusNotFound {
		t.Errorf("with another session key: status %d, want 404", w.Code)
	}
	w = webtest.Send(t, h, "/batches/monday/share", url.Values{"days": {"700"}}, "Authorization", "Bearer x")
	if w.Code != 422 {
		t.Errorf("a link for 700 days: status %d, want 422", w.Code)
	}
}

// The page of a class requests the images of its 60 rooms at once, after a login and by a share link. None of them is
// refused because others are in flight.
func TestImageWallLoadsCompletely(t *testing.T) {
	needs.Time(t)
	var pic bytes.Buffer
	if err := png.Encode(&pic, image.NewPaletted(image.Rect(0, 0, 64, 36), color.Palette{color.White})); err != nil {
		t.Fatal(err)
	}
	host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(pic.Bytes()) }))
	t.Cleanup(host.Close)
	rdb := redistest.Client(t)
	l := ledger.New(rdb, ledger.Options{})
	rooms := func(yield func(tasks.Room, error) bool) {
		for i := range 60 {
			if !yield(tasks.Room{SdkAppId: 1400123480, RoomId: uint64(20101 + i)}, nil) {
				return
			}
		}
	}
	if _, err := enqueue.New(rdb, "").Batch(t.Context(), rooms, enqueue.BatchOptions{ID: "wall"}); err != nil {
		t.Fatal(err)
	}
	var urls []string
	for n := range 5 {
		urls = append(urls, fmt.Sprintf("%s/%d.png", host.URL, n))
	}
	for row := range 60 {
		webtest.SucceedWith(t, l, "wall", row+1, urls...)
	}
	srv := httptest.NewServer(webtest.NewPages(t, rdb, webtest.WithSimulator(t)))
	t.Cleanup(srv.Close)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}}
	t.Cleanup(client.CloseIdleConnections)
	get := func(path string) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), "GET", srv.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", "text/html, image/*")
		resp, err := client.Do(r)
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return 0, err.Error()
		}
		return resp.StatusCode, string(body)
	}
	resp, err := client.PostForm(srv.URL+"/batches/wall/share", url.Values{"days": {"1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	shared, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`value="http://[^/"]+(/images/[^"]+)"`).FindSubmatch(shared)
	if m == nil {
		t.Fatalf("the page lacks the share link:\n%s", shared)
	}
	for _, wall := range []string{"/batches/wall/images", html.UnescapeString(string(m[1]))} {
		status, body := get(wall)
		all := regexp.MustCompile(`<img src="(/[^"]+width=320)"`).FindAllStringSubmatch(body, -1)
		if status != 200 || len(all) != 300 {
			t.Fatalf("GET %s: status %d with %d images, want 200 with 300", wall, status, len(all))
		}
		var under sync.WaitGroup
		for _, img := range all {
			under.Go(func() {
				if status, body := get(html.UnescapeString(img[1])); status != 200 {
					t.Errorf("GET %s: status %d, want 200: %.200s", img[1], status, body)
				}
			})
		}
		under.Wait()
	}
}
