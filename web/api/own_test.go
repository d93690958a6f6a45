package api_test

import (
	"net/http"
	"strings"
	"testing"

	"tiwsnap/internal/password"
	"tiwsnap/ledger"
	"tiwsnap/results"
	"tiwsnap/web"
	"tiwsnap/web/api"
	"tiwsnap/web/webtest"
)

// A client with the role produce views, follows and cancels only its own batches and snapshots. Those of other clients
// are not found.
func TestRoleProduceSeesOnlyItsOwn(t *testing.T) {
	s := webtest.NewService(t)
	other := password.NewToken()
	if err := s.Auth.Replace(nil, append(s.TokenList, web.Token{
		Name: "other", Hash: password.HashToken(other), Roles: []web.Role{web.RoleProduce},
	}), ""); err != nil {
		t.Fatal(err)
	}
	own, others := "Bearer "+s.Tokens[web.RoleProduce], "Bearer "+other
	const list = "SdkAppId,RoomId\n7,4711\n7,4712\n"
	s.Send("POST", "/v1/batches?name=mine", list, "Content-Type", "text/csv", "Authorization", own).
		Want(http.StatusAccepted, nil)
	s.Send("POST", "/v1/batches?name=theirs", list, "Content-Type", "text/csv", "Authorization", others).
		Want(http.StatusAccepted, nil)
	var single, theirs api.EnqueuedSnapshot
	room := `{"SdkAppId":7,"RoomId":4711,"Key":"lesson"}`
	s.Send("POST", "/v1/snapshots", room, "Content-Type", "application/json", "Authorization", own).
		Want(http.StatusAccepted, &single)
	s.Send("POST", "/v1/snapshots", `{"SdkAppId":7,"RoomId":4711,"Key":"theirs"}`, "Content-Type", "application/json",
		"Authorization", others).Want(http.StatusAccepted, &theirs)
	// Another client that sends the same key does not become the owner.
	s.Send("POST", "/v1/snapshots", room, "Content-Type", "application/json", "Authorization", others).Want(200, nil)

	for path, status := range map[string]int{
		"/v1/batches/mine": 200, "/v1/batches/mine/snapshots": 200, "/v1/snapshots/mine.1": 200,
		"/v1/snapshots/" + single.ID: 200,
		"/v1/batches/theirs":         404, "/v1/batches/theirs/snapshots": 404, "/v1/batches/theirs/images.zip": 404,
		"/v1/batches/theirs/events": 404,
		"/v1/snapshots/theirs.1":    404, "/v1/snapshots/" + theirs.ID: 404, "/v1/snapshots/theirs.1/images/1": 404,
		"/v1/audit": 403, "/v1/failures": 403,
	} {
		if r := s.Send("GET", path, "", "Authorization", own); r.Status != status {
			t.Errorf("GET %s: status %d, want %d: %s", path, r.Status, status, r.Body)
		}
	}
	var page struct{ Batches []api.Batch }
	s.Send("GET", "/v1/batches", "", "Authorization", own).Want(200, &page)
	if len(page.Batches) != 1 || page.Batches[0].ID != "mine" || page.Batches[0].By != "token the-produce" {
		t.Errorf("batches for the role produce are %+v, want mine", page.Batches)
	}
	s.Send("GET", "/v1/batches", "").Want(200, &page)
	if len(page.Batches) != 2 {
		t.Errorf("batches for the role operate are %+v, want both", page.Batches)
	}
	var found results.Found
	s.Send("GET", "/v1/find?q=4711", "", "Authorization", own).Want(200, &found)
	for _, f := range found.Snapshots {
		if strings.HasPrefix(f.ID, "theirs") || f.ID == theirs.ID {
			t.Errorf("find returns %s of another client", f.ID)
		}
	}
	for path, status := range map[string]int{
		"/v1/batches/theirs/cancel": 404, "/v1/snapshots/theirs.1/cancel": 404, "/v1/batches/mine/pause": 403,
		"/v1/snapshots/mine.1/cancel": 200, "/v1/snapshots/" + single.ID + "/cancel": 200, "/v1/batches/mine/cancel": 200,
	} {
		if path == "/v1/batches/mine/cancel" {
			continue
		}
		if r := s.Send("POST", path, "", "Authorization", own); r.Status != status {
			t.Errorf("POST %s: status %d, want %d: %s", path, r.Status, status, r.Body)
		}
	}
	s.Send("POST", "/v1/batches/mine/cancel", "", "Authorization", own).Want(200, nil)
	if b, err := ledger.New(s.Redis, ledger.Options{}).Batch(t.Context(), "theirs"); err != nil || b.Canceled != 0 {
		t.Errorf("batch theirs is %+v, %v, want no canceled snapshots", b, err)
	}
}
