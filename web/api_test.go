package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"tiwsnap/backlog"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/password"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/web"
)

// service is a served API and a client of it, which is let in with every role
// that it says.
type service struct {
	*testing.T
	url    string
	rdb    redis.UniversalClient
	log    *buffer
	tokens map[web.Role]string
	auth   *web.Auth
	list   []web.Token
	client *http.Client
}

// newService serves an API on a redis of its own until the test ends.
func newService(t *testing.T, change ...func(*web.APIOptions)) *service {
	t.Helper()
	return serve(t, redistest.Client(t), change...)
}

func serve(t *testing.T, rdb redis.UniversalClient, change ...func(*web.APIOptions)) *service {
	t.Helper()
	return serveBy(t, func(*http.Server) {}, rdb, change...)
}

// serveBy serves by a server that differs.
func serveBy(t *testing.T, differ func(*http.Server), rdb redis.UniversalClient,
	change ...func(*web.APIOptions)) *service {
	t.Helper()
	s := &service{T: t, rdb: rdb, log: new(buffer), tokens: map[web.Role]string{}, client: &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: 30 * time.Second,
	}}
	log := slog.New(slog.NewJSONHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var tokens []web.Token
	for _, role := range []web.Role{web.RoleView, web.RoleProduce, web.RoleOperate} {
		s.tokens[role] = password.NewToken()
		tokens = append(tokens, web.Token{
			Name: "the-" + string(role), Hash: password.HashToken(s.tokens[role]), Roles: []web.Role{role},
		})
	}
	auth, err := web.NewAuth(web.AuthOptions{Tokens: tokens})
	if err != nil {
		t.Fatal(err)
	}
	s.auth, s.list = auth, tokens
	o := web.APIOptions{Redis: rdb, Ledger: ledger.New(rdb, ledger.Options{}), Log: log}
	for _, f := range change {
		f(&o)
	}
	api := web.NewAPI(o)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.url = "http://" + l.Addr().String()
	h := web.HandlerOptions{Auth: auth, Log: log}
	h.SetLinger(5 * time.Second)
	server := web.NewServer(web.NewHandler(h, append(api.Routes(), api.HealthRoutes()...)...), log)
	server.RegisterOnShutdown(api.Close)
	differ(server)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- web.Serve(ctx, server, l, 5*time.Second) }()
	t.Cleanup(func() {
		s.client.CloseIdleConnections()
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the server ended: %v", err)
		}
		for role, token := range s.tokens {
			if strings.Contains(s.log.String(), token) {
				t.Errorf("the log shows the token of %s", role)
			}
		}
	})
	return s
}

// reply is an answer that was read.
type reply struct {
	*testing.T
	status int
	header http.Header
	body   string
}

// send makes a request; header is name, value, …. It goes out with the token
// of the role operate unless a header says otherwise.
func (s *service) send(method, path, body string, header ...string) reply {
	s.Helper()
	return s.do(s.request(method, path, body, header...))
}

func (s *service) request(method, path, body string, header ...string) *http.Request {
	s.Helper()
	r, err := http.NewRequestWithContext(s.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.tokens[web.RoleOperate])
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

func (s *service) do(r *http.Request) reply {
	s.Helper()
	resp, err := s.client.Do(r)
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.Fatal(err)
	}
	return reply{s.T, resp.StatusCode, resp.Header, string(b)}
}

// want checks the status and decodes the body.
func (r reply) want(status int, into any) reply {
	r.Helper()
	if r.status != status {
		r.Fatalf("status %d, want %d: %s", r.status, status, r.body)
	}
	if into != nil {
		if err := json.Unmarshal([]byte(r.body), into); err != nil {
			r.Fatalf("%v: %s", err, r.body)
		}
	}
	return r
}

// problem checks that the answer is a problem document of that status and code,
// and returns it.
func (r reply) problem(status int, code string) web.Problem {
	r.Helper()
	var p web.Problem
	d := json.NewDecoder(strings.NewReader(r.body))
	d.DisallowUnknownFields()
	err := d.Decode(&p)
	if r.status != status || err != nil || p.Status != status || p.Code != code || p.Title != http.StatusText(status) ||
		r.header.Get("Content-Type") != "application/problem+json" {
		r.Errorf("status %d, want %d %s: %v %s (%v)", r.status, status, code, r.header, r.body, err)
	}
	if retry := status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests ||
		code == "key-in-flight"; retry != (r.header.Get("Retry-After") != "") {
		r.Errorf("%d %s has Retry-After %q", status, code, r.header.Get("Retry-After"))
	}
	return p
}

// batches is how many there are.
func (s *service) batches() int {
	s.Helper()
	all, err := ledger.New(s.rdb, ledger.Options{}).Batches(s.Context(), 0)
	if err != nil {
		s.Fatal(err)
	}
	return len(all)
}

func TestBatchInEveryFormat(t *testing.T) {
	s := newService(t)
	for name, test := range map[string]struct{ path, media, body string }{
		"csv": {"/v1/batches?name=csv", "text/csv; charset=utf-8", "SdkAppId;RoomId;Label.Class\n7;1;3B\n7;2;\n"},
		"lines": {"/v1/batches?name=lines&SdkAppId=7", "application/x-ndjson",
			`{"RoomId":1,"Label":{"Class":"3B"}}` + "\n" + `{"RoomId":2}`},
		"array": {"/v1/batches?name=array&SdkAppId=7", "application/json",
			"[ {\"RoomId\": 1,\n \"Label.Class\":\"3B\"},{\"RoomId\":2}\n]\n"},
		"object": {"/v1/batches", "application/json",
			`{"name":"object","defaults":{"SdkAppId":7,"SnapshotMode":"AllMarks"},"rooms":[{"RoomId":1,` +
				`"Label":{"Class":"3B"}},{"RoomId":2}]}`},
	} {
		var got web.Enqueued
		r := s.send("POST", test.path, test.body, "Content-Type", test.media).want(202, &got)
		want := web.Enqueued{ID: name, Rooms: 2, Created: true, Faults: []web.Fault{}, Notes: []web.Note{}}
		if diff := cmp.Diff(want, got); diff != "" || r.header.Get("Location") != "/v1/batches/"+name {
			t.Errorf("%s: %s %v", name, diff, r.header)
		}
		var b map[string]any
		s.send("GET", "/v1/batches/"+name, "").want(200, &b)
		if b["id"] != name || b["total"] != 2.0 || b["queued"] != 2.0 || b["state"] != "running" {
			t.Errorf("%s: %v", name, b)
		}
	}
	if n := s.batches(); n != 4 {
		t.Errorf("%d batches", n)
	}
}

// A CallbackURL of the batch is for the rooms that have none, and is shown
// without what may be a token in it.
func TestCallbackURLInEveryFormat(t *testing.T) {
	s := newService(t)
	const all, own = "https://example.com/all?token=S3CR3T", "https://example.org/own?token=S3CR3T"
	for name, test := range map[string]struct{ query, media, body string }{
		"csv": {"&SdkAppId=7&CallbackURL=" + url.QueryEscape(all), "text/csv", "RoomId,CallbackURL\n1," + own + "\n2,\n"},
		"lines": {"&SdkAppId=7&CallbackURL=" + url.QueryEscape(all), "application/x-ndjson",
			`{"RoomId":1,"CallbackURL":"` + own + `"}` + "\n" + `{"RoomId":2}`},
		"object": {"", "application/json",
			`{"defaults":{"SdkAppId":7,"CallbackURL":"` + all + `"},"rooms":[{"RoomId":1,"CallbackURL":"` + own +
				`"},{"RoomId":2}]}`},
	} {
		s.send("POST", "/v1/batches?name="+name+test.query, test.body, "Content-Type", test.media).want(202, nil)
		for n, want := range []string{own, all} {
			if room, err := backlog.New(s.rdb, keys.Default).Room(t.Context(), name, n+1); err != nil ||
				room.CallbackURL != want {
				t.Errorf("%s: room %d is %+v, %v", name, n+1, room, err)
			}
		}
		r := s.send("GET", "/v1/batches/"+name+"/snapshots", "")
		if strings.Contains(r.body, "S3CR3T") || !strings.Contains(r.body, `"CallbackURL":"https://example.org"`) {
			t.Errorf("%s: shown as %s", name, r.body)
		}
	}
	// The same Key with another CallbackURL is not the same snapshot.
	room := `{"SdkAppId":7,"RoomId":1,"Key":"k","CallbackURL":"` + own + `"}`
	s.send("POST", "/v1/snapshots", room).want(202, nil)
	s.send("POST", "/v1/snapshots", room).want(200, nil)
	s.send("POST", "/v1/snapshots", strings.Replace(room, "own", "other", 1)).problem(409, "exists")
}

func TestBatchesThatAreRefusedLeaveNothing(t *testing.T) {
	s := newService(t, func(o *web.APIOptions) {
		o.SetUpload(10_000, 100)
		o.CheckCallback = func(string) error { return errors.New("leads elsewhere") }
	})
	s.send("POST", "/v1/snapshots", `{"SdkAppId":7,"RoomId":1,"CallbackURL":"https://a.example"}`).problem(422, "invalid")
	const js, lines, csv = "application/json", "application/x-ndjson", "text/csv"
	for _, test := range []struct {
		what, path, media, body string
		status                  int
		code, says              string
	}{
		{"no media type", "", "", "[]", 415, "media-type", "Content-Type is missing"},
		{"another media type", "", "application/xml", "<a/>", 415, "media-type", "application/xml"},
		{"an unknown encoding", "", "text/csv; charset=klingon", "a", 415, "media-type", "klingon"},
		{"an unknown encoding in the query", "?encoding=klingon", csv, "a", 422, "invalid", "klingon"},
		{"no body", "", csv, "", 422, "invalid", "the file is empty"},
		{"no body of JSON", "", js, "", 422, "invalid", "it ends too early"},
		{"no rooms", "?SdkAppId=7", js, `[]`, 422, "invalid", "the file is empty"},
		{"no good room", "?SdkAppId=7", js, `[{"RoomId":0}]`, 422, "invalid", `"field":"RoomId","reason":"is 0`},
		{"strict", "?SdkAppId=7&strict=true", lines, "{\"RoomId\":1}\n{\"RoomId\":1}", 422, "invalid", `"line":2`},
		{"a bad name", "?name=A", lines, `{"SdkAppId":7,"RoomId":1}`, 422, "invalid", "query.name"},
		{"a bad name in the body", "", js, `{"name":"-","rooms":[{"SdkAppId":7,"RoomId":1}]}`, 422, "invalid",
			"name must be"},
		{"two names", "?name=a", js, `{"name":"b","rooms":[{"SdkAppId":7,"RoomId":1}]}`, 422, "invalid", "name is one thing"},
		{"an unknown parameter", "?nmae=a", lines, `{"SdkAppId":7,"RoomId":1}`, 422, "invalid", "nmae"},
		{"an unknown column", "", csv, "SdkAppId,RoomId,Romm\n7,1,2\n", 422, "invalid", "Romm"},
		{"an unknown member", "", js, `{"room":[{"SdkAppId":7,"RoomId":1}]}`, 422, "invalid", `\"room\" is not known`},
		{"an unknown default", "", js, `{"defaults":{"AppId":7},"rooms":[{"RoomId":1}]}`, 422, "invalid", "AppId"},
		{"an unknown member behind", "", js, `{"rooms":[{"SdkAppId":7,"RoomId":1}],"room":true}`, 422, "invalid",
			`\"room\" is not known`},
		{"an unknown default behind", "", js, `{"rooms":[{"SdkAppId":7,"RoomId":1}],"defaults":{"AppId":7}}`, 422,
			"invalid", "AppId"},
		{"strict behind", "?SdkAppId=7", js, `{"rooms":[{"RoomId":1},{"RoomId":0}],"strict":true}`, 422, "invalid",
			`"line":2`},
		{"rooms twice", "", js, `{"rooms":[{"SdkAppId":7,"RoomId":1}],"rooms":[]}`, 422, "invalid", "appears twice"},
		{"rooms that are none", "", js, `{"rooms":{"SdkAppId":7,"RoomId":1}}`, 422, "invalid", "must be an array of rooms"},
		{"no rooms at all", "", js, `{"name":"a"}`, 422, "invalid", "must be an array of rooms"},
		{"more behind an object", "", js, `{"rooms":[{"SdkAppId":7,"RoomId":1}]}{}`, 422, "invalid", "there is more"},
		{"half of an object", "", js, `{"rooms":[{"SdkAppId":7,"RoomId":1}],`, 422, "invalid",
			"after room 1: it ends too early"},
		{"more behind", "", js, `[{"SdkAppId":7,"RoomId":1}] 1`, 422, "invalid", "there is more"},
		{"half of it", "", js, `[{"SdkAppId":7,"RoomId":1},{"SdkAppId"`, 422, "invalid", "after room 1: it ends too early"},
		{"broken JSON", "", js, `[{"SdkAppId":7,"RoomId":1},{"SdkAppId"]`, 422, "invalid", "after room 1"},
		{"a CallbackURL", "?CallbackURL=https://a.example", lines, `{"SdkAppId":7,"RoomId":1}`, 422, "invalid",
			"CallbackURL leads elsewhere"},
		{"a CallbackURL in the body", "", js,
			`{"defaults":{"CallbackURL":"https://a.example"},"rooms":[{"SdkAppId":7,"RoomId":1}]}`, 422, "invalid",
			"CallbackURL leads elsewhere"},
		{"a CallbackURL of a row", "", csv, "SdkAppId,RoomId,CallbackURL\n7,1,https://a.example\n", 422, "invalid",
			`"line":2,"column":3,"field":"CallbackURL","reason":"leads elsewhere"`},
		{"a webhook", "?webhook=https://a.example", lines, `{"SdkAppId":7,"RoomId":1}`, 422, "invalid",
			"webhook cannot be named here"},
		{"too large", "", lines, strings.Repeat("{\"SdkAppId\":7,\"RoomId\":1}\n", 1000), 413, "too-large", "10000 bytes"},
		{"too many", "?SdkAppId=7", csv, "RoomId\n" + strings.Repeat("1\n", 101), 422, "invalid", "more than 100 rows"},
	} {
		t.Run(test.what, func(t *testing.T) {
			s.T = t
			r := s.send("POST", "/v1/batches"+test.path, test.body, "Content-Type", test.media)
			r.problem(test.status, test.code)
			if !strings.Contains(r.body, test.says) {
				t.Errorf("it does not say %q: %s", test.says, r.body)
			}
		})
	}
	s.T = t
	t.Run("too large, of unknown length", func(t *testing.T) {
		body := io.MultiReader(strings.NewReader("SdkAppId,RoomId,Label.A\n"),
			bytes.NewReader(bytes.Repeat([]byte("7,1,"+strings.Repeat("a", 1000)+"\n"), 50)))
		r, err := http.NewRequestWithContext(t.Context(), "POST", s.url+"/v1/batches", io.NopCloser(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "text/csv")
		r.Header.Set("Authorization", "Bearer "+s.tokens[web.RoleProduce])
		s.do(r).problem(413, "too-large")
	})
	t.Run("broken off", func(t *testing.T) {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn,
			"POST /v1/batches?name=half HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: "+
				"text/csv\r\nContent-Length: 5000\r\n\r\nSdkAppId,RoomId\n7,1\n",
			s.tokens[web.RoleProduce])
		conn.(*net.TCPConn).CloseWrite()
		all, err := io.ReadAll(conn)
		if err != nil || !bytes.Contains(all, []byte("broke off")) {
			t.Errorf("%s, %v", all, err)
		}
		conn.Close()
	})
	if left, err := s.rdb.Keys(t.Context(), "*").Result(); err != nil || len(left) != 0 {
		t.Errorf("there is left: %v, %v", left, err)
	}
}

func TestRowsThatAreWrongAreReported(t *testing.T) {
	s := newService(t)
	var list strings.Builder
	list.WriteString("RoomId\n")
	for i := range 150 {
		fmt.Fprintf(&list, "%d\nx\n", i+1)
	}
	var got web.Enqueued
	s.send("POST", "/v1/batches?SdkAppId=7", list.String(), "Content-Type", "text/csv").want(202, &got)
	if got.Rooms != 150 || got.BadRows != 150 || len(got.Faults) != 100 {
		t.Errorf("%d rooms, %d bad, %d faults", got.Rooms, got.BadRows, len(got.Faults))
	}
	if want := (web.Fault{Line: 3, Column: 1, Field: "RoomId",
		Reason: "is \"x\", it must be a whole number"}); got.Faults[0].Line != want.Line ||
		got.Faults[0].Field != want.Field {
		t.Errorf("the first: %+v", got.Faults[0])
	}
}

// A list that is only checked is answered as one that is enqueued, and leaves
// nothing, in whatever form it comes.
func TestAListIsChecked(t *testing.T) {
	s := newService(t)
	for name, test := range map[string]struct{ media, body string }{
		"csv": {"text/csv", "SdkAppId,RoomId\n7,1\n7,x\n7,2\n7,1\n"},
		"lines": {"application/x-ndjson",
			"{\"SdkAppId\":7,\"RoomId\":1}\n{\"SdkAppId\":7}\n{\"SdkAppId\":7,\"RoomId\":2}\n7\n"},
		"object": {"application/json",
			`{"defaults":{"SdkAppId":7},"rooms":[{"RoomId":1},{"RoomId":"x"},{"RoomId":2},{"RoomId":2}]}`},
	} {
		var got web.Enqueued
		s.send("POST", "/v1/batches?check=true&name=monday", test.body, "Content-Type", test.media, "Idempotency-Key", "k").
			want(200, &got)
		if got.ID != "" || got.Rooms != 2 || got.Created || got.BadRows != 2 || len(got.Faults) != 2 ||
			got.Faults[0].Reason == "" {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for path, body := range map[string]string{
		"/v1/batches?check=true":                        "SdkAppId,RoomId\n7,x\n",
		"/v1/batches?check=true&strict=true":            "SdkAppId,RoomId\n7,1\n7,x\n",
		"/v1/batches?check=true&webhook=http://else/":   "SdkAppId,RoomId\n7,1\n",
		"/v1/batches?check=true&CallbackURL=gopher://x": "SdkAppId,RoomId\n7,1\n",
	} {
		s.send("POST", path, body, "Content-Type", "text/csv").problem(422, "invalid")
	}
	if left, err := s.rdb.Keys(t.Context(), "*").Result(); err != nil || len(left) != 0 {
		t.Errorf("there is left: %v, %v", left, err)
	}
	s.send("POST", "/v1/batches?name=monday", "SdkAppId,RoomId\n7,1\n", "Content-Type", "text/csv",
		"Idempotency-Key", "k").
		want(202, nil)
}

// until waits for something to become true.
func (s *service) until(done func() bool) {
	s.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			s.Fatal("it has not come")
		}
	}
}
