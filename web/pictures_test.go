package web_test

import (
	"bytes"
	"encoding/base64"
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
	"testing"

	"tiwsnap/internal/password"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/web"
)

// A link shows the pictures of its batch to whoever has it, and nothing else.
func TestALinkToPictures(t *testing.T) {
	var pic bytes.Buffer
	if err := png.Encode(&pic, image.NewPaletted(image.Rect(0, 0, 1280, 720), color.Palette{color.White})); err != nil {
		t.Fatal(err)
	}
	host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(pic.Bytes()) }))
	t.Cleanup(host.Close)
	rdb := redistest.Client(t)
	school(t, rdb, "monday", 60)
	school(t, rdb, "secret", 60)
	l := ledger.New(rdb, ledger.Options{})
	picture(t, l, "monday", 7, host.URL+"/1.png")

	auth, err := web.NewAuth(web.AuthOptions{Tokens: []web.Token{
		{Name: "ada", Hash: password.HashToken("tiw_view"), Roles: []web.Role{web.RoleView}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	o := web.APIOptions{Redis: rdb, Ledger: l}
	withSimulator(t)(&o)
	api := web.NewAPI(o)
	h := web.NewHandler(web.HandlerOptions{Auth: auth}, append(web.NewPages(web.PagesOptions{Auth: auth, API: api}).Routes(), api.Routes()...)...)

	w := send(t, h, "/batches/monday/share", url.Values{"days": {"7"}}, "Authorization", "Bearer tiw_view")
	if w.Code != http.StatusSeeOther {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	body := ask(t, h, "GET", w.Header().Get("Location"), "Accept", "text/html", "Authorization", "Bearer tiw_view").Body.String()
	m := regexp.MustCompile(`value="http://[^/"]+(/pictures/[^"]+)"`).FindStringSubmatch(body)
	if m == nil {
		t.Fatalf("there is no link in %s", body)
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
		t.Errorf("%d %s", page.Code, body)
	}
	for path, status := range map[string]int{
		link + "/7/1": 200, link + "/7/1?width=320": 200, link + "/7/2": 404, link + "/8/1": 404, link + "/61/1": 404, link + "/0/1": 404,
		link + "/7/1?width=480": 404, "/batches/monday": http.StatusSeeOther, "/v1/snapshots/monday.7/images/1": http.StatusSeeOther,
	} {
		if w := get(path); w.Code != status {
			t.Errorf("%s: %d, want %d %s", path, w.Code, status, w.Body)
		}
	}
	// Of another batch, for longer, or with another signature it is not good.
	field := strings.Split(strings.TrimPrefix(link, "/pictures/"), ".")
	for _, bad := range []string{
		base64.RawURLEncoding.EncodeToString([]byte("secret")) + "." + field[1] + "." + field[2],
		field[0] + ".zzzzzzz." + field[2], field[0] + ".1." + field[2], field[0] + "." + field[1] + ".x", "x",
	} {
		if w := get("/pictures/" + bad); w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "has expired") {
			t.Errorf("%s: %d %s", bad, w.Code, w.Body)
		}
		if w := get("/pictures/" + bad + "/7/1"); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", bad, w.Code)
		}
	}
	// Another key ends it.
	if err := auth.Replace(nil, []web.Token{{Name: "ada", Hash: password.HashToken("x"), Roles: []web.Role{web.RoleView}}}, strings.Repeat("k", 32)); err != nil {
		t.Fatal(err)
	}
	if w := get(link); w.Code != http.StatusNotFound {
		t.Errorf("with another session key: %d", w.Code)
	}
	if w := send(t, h, "/batches/monday/share", url.Values{"days": {"700"}}, "Authorization", "Bearer x"); w.Code != 422 {
		t.Errorf("700 days: %d", w.Code)
	}
}
