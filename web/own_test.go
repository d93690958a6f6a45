package web_test

import (
	"net/http"
	"strings"
	"testing"

	"tiwsnap/internal/password"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/results"
	"tiwsnap/web"
)

// Who only produces sees, follows and cancels what is its own. What others have
// enqueued is not there for it.
func TestWhoProducesSeesItsOwnOnly(t *testing.T) {
	s := newService(t)
	other := password.NewToken()
	if err := s.auth.Replace(nil, append(s.list, web.Token{
		Name: "other", Hash: password.HashToken(other), Roles: []web.Role{web.RoleProduce},
	}), ""); err != nil {
		t.Fatal(err)
	}
	mine, others := "Bearer "+s.tokens[web.RoleProduce], "Bearer "+other
	const list = "SdkAppId,RoomId\n7,4711\n7,4712\n"
	s.send("POST", "/v1/batches?name=mine", list, "Content-Type", "text/csv", "Authorization", mine).
		want(http.StatusAccepted, nil)
	s.send("POST", "/v1/batches?name=theirs", list, "Content-Type", "text/csv", "Authorization", others).
		want(http.StatusAccepted, nil)
	var single, theirs web.EnqueuedSnapshot
	room := `{"SdkAppId":7,"RoomId":4711,"Key":"lesson"}`
	s.send("POST", "/v1/snapshots", room, "Content-Type", "application/json", "Authorization", mine).
		want(http.StatusAccepted, &single)
	s.send("POST", "/v1/snapshots", `{"SdkAppId":7,"RoomId":4711,"Key":"theirs"}`, "Content-Type", "application/json",
		"Authorization", others).want(http.StatusAccepted, &theirs)
	// The same key again does not make it somebody else's.
	s.send("POST", "/v1/snapshots", room, "Content-Type", "application/json", "Authorization", others).want(200, nil)

	for path, status := range map[string]int{
		"/v1/batches/mine": 200, "/v1/batches/mine/snapshots": 200, "/v1/snapshots/mine.1": 200,
		"/v1/snapshots/" + single.ID: 200,
		"/v1/batches/theirs":         404, "/v1/batches/theirs/snapshots": 404, "/v1/batches/theirs/images.zip": 404,
		"/v1/batches/theirs/events": 404,
		"/v1/snapshots/theirs.1":    404, "/v1/snapshots/" + theirs.ID: 404, "/v1/snapshots/theirs.1/images/1": 404,
		"/v1/audit": 403, "/v1/failures": 403,
	} {
		if r := s.send("GET", path, "", "Authorization", mine); r.status != status {
			t.Errorf("GET %s: %d, want %d: %s", path, r.status, status, r.body)
		}
	}
	var page struct{ Batches []web.Batch }
	s.send("GET", "/v1/batches", "", "Authorization", mine).want(200, &page)
	if len(page.Batches) != 1 || page.Batches[0].ID != "mine" || page.Batches[0].By != "token the-produce" {
		t.Errorf("its batches are %+v", page.Batches)
	}
	s.send("GET", "/v1/batches", "").want(200, &page)
	if len(page.Batches) != 2 {
		t.Errorf("those of who operates are %+v", page.Batches)
	}
	var found results.Found
	s.send("GET", "/v1/find?q=4711", "", "Authorization", mine).want(200, &found)
	for _, f := range found.Snapshots {
		if strings.HasPrefix(f.ID, "theirs") || f.ID == theirs.ID {
			t.Errorf("it finds %s", f.ID)
		}
	}
	for path, status := range map[string]int{
		"/v1/batches/theirs/cancel": 404, "/v1/snapshots/theirs.1/cancel": 404, "/v1/batches/mine/pause": 403,
		"/v1/snapshots/mine.1/cancel": 200, "/v1/snapshots/" + single.ID + "/cancel": 200, "/v1/batches/mine/cancel": 200,
	} {
		if path == "/v1/batches/mine/cancel" {
			continue
		}
		if r := s.send("POST", path, "", "Authorization", mine); r.status != status {
			t.Errorf("POST %s: %d, want %d: %s", path, r.status, status, r.body)
		}
	}
	s.send("POST", "/v1/batches/mine/cancel", "", "Authorization", mine).want(200, nil)
	if b, err := ledger.New(s.rdb, ledger.Options{}).Batch(t.Context(), "theirs"); err != nil || b.Canceled != 0 {
		t.Errorf("%+v, %v", b, err)
	}
}

// On the pages, too.
func TestWhoProducesHasPages(t *testing.T) {
	rdb := redistest.Client(t)
	school(t, rdb, "monday", 10)
	auth, err := web.NewAuth(web.AuthOptions{Tokens: []web.Token{
		{Name: "erp", Hash: password.HashToken("tiw_produce"), Roles: []web.Role{web.RoleProduce}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	api := web.NewAPI(web.APIOptions{Redis: rdb, Ledger: ledger.New(rdb, ledger.Options{})})
	h := web.NewHandler(web.HandlerOptions{Auth: auth}, web.NewPages(web.PagesOptions{Auth: auth, API: api}).Routes()...)
	get := func(path string) (int, string, string) {
		w := ask(t, h, "GET", path, "Accept", "text/html", "Authorization", "Bearer tiw_produce")
		return w.Code, w.Header().Get("Location"), w.Body.String()
	}
	if code, to, _ := get("/"); code != http.StatusSeeOther || to != "/batches" {
		t.Errorf("the first page: %d %s", code, to)
	}
	if code, _, body := get("/batches"); code != 200 || strings.Contains(body, "monday") ||
		strings.Contains(body, "/audit") {
		t.Errorf("%d %s", code, body)
	}
	for _, path := range []string{"/batches/monday", "/snapshots/monday.1", "/batches/monday/pictures"} {
		if code, _, _ := get(path); code != 404 {
			t.Errorf("%s: %d", path, code)
		}
	}
	if code, _, body := get("/find?q=20102"); code != 200 || strings.Contains(body, "monday.2") {
		t.Errorf("%d %s", code, body)
	}
}
