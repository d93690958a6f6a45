package api_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/backlog"
	"tiwsnap/internal/keys"
	"tiwsnap/web"
	"tiwsnap/web/api"
	"tiwsnap/web/webtest"
)

func TestBatchFormats(t *testing.T) {
	s := webtest.NewService(t)
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
		var got api.Enqueued
		r := s.Send("POST", test.path, test.body, "Content-Type", test.media).Want(202, &got)
		want := api.Enqueued{ID: name, Rooms: 2, Created: true, Faults: []web.Fault{}, Notes: []api.Note{}}
		if diff := cmp.Diff(want, got); diff != "" || r.Header.Get("Location") != "/v1/batches/"+name {
			t.Errorf("%s: response (-want +got):\n%s\nheader %v", name, diff, r.Header)
		}
		var b map[string]any
		s.Send("GET", "/v1/batches/"+name, "").Want(200, &b)
		if b["id"] != name || b["total"] != 2.0 || b["queued"] != 2.0 || b["state"] != "running" {
			t.Errorf("%s: batch is %v, want two queued rooms", name, b)
		}
	}
	if n := s.Batches(); n != 4 {
		t.Errorf("there are %d batches, want 4", n)
	}
}

// The CallbackURL of a batch applies to rooms without their own. Responses show only its scheme and host, because the
// rest may contain a token.
func TestCallbackURL(t *testing.T) {
	s := webtest.NewService(t)
	const all, own = "https://example.com/all?token=S3CR3T", "https://example.org/own?token=S3CR3T"
	for name, test := range map[string]struct{ query, media, body string }{
		"csv": {"&SdkAppId=7&CallbackURL=" + url.QueryEscape(all), "text/csv", "RoomId,CallbackURL\n1," + own + "\n2,\n"},
		"lines": {"&SdkAppId=7&CallbackURL=" + url.QueryEscape(all), "application/x-ndjson",
			`{"RoomId":1,"CallbackURL":"` + own + `"}` + "\n" + `{"RoomId":2}`},
		"object": {"", "application/json",
			`{"defaults":{"SdkAppId":7,"CallbackURL":"` + all + `"},"rooms":[{"RoomId":1,"CallbackURL":"` + own +
				`"},{"RoomId":2}]}`},
	} {
		s.Send("POST", "/v1/batches?name="+name+test.query, test.body, "Content-Type", test.media).Want(202, nil)
		for n, want := range []string{own, all} {
			if room, err := backlog.New(s.Redis, keys.Default).Room(t.Context(), name, n+1); err != nil ||
				room.CallbackURL != want {
				t.Errorf("%s: room %d is %+v, %v, want the CallbackURL %s", name, n+1, room, err, want)
			}
		}
		r := s.Send("GET", "/v1/batches/"+name+"/snapshots", "")
		if strings.Contains(r.Body, "S3CR3T") || !strings.Contains(r.Body, `"CallbackURL":"https://example.org"`) {
			t.Errorf("%s: the response is %s, want only scheme and host of the CallbackURL", name, r.Body)
		}
	}
	// The same Key with another CallbackURL is another snapshot.
	room := `{"SdkAppId":7,"RoomId":1,"Key":"k","CallbackURL":"` + own + `"}`
	s.Send("POST", "/v1/snapshots", room).Want(202, nil)
	s.Send("POST", "/v1/snapshots", room).Want(200, nil)
	s.Send("POST", "/v1/snapshots", strings.Replace(room, "own", "other", 1)).Problem(409, "exists")
}

func TestInvalidBatches(t *testing.T) {
	s := webtest.NewService(t, func(o *api.Options) {
		o.SetUpload(10_000, 100)
		o.CheckCallback = func(string) error { return errors.New("leads elsewhere") }
	})
	s.Send("POST", "/v1/snapshots", `{"SdkAppId":7,"RoomId":1,"CallbackURL":"https://a.example"}`).Problem(422, "invalid")
	const js, lines, csv = "application/json", "application/x-ndjson", "text/csv"
	for _, test := range []struct {
		name, path, media, body string
		status                  int
		code, detail            string
	}{
		{"no media type", "", "", "[]", 415, "media-type", "Content-Type is missing"},
		{"another media type", "", "application/xml", "<a/>", 415, "media-type", "application/xml"},
		{"an unknown encoding", "", "text/csv; charset=klingon", "a", 415, "media-type", "klingon"},
		{"an unknown encoding in the query", "?encoding=klingon", csv, "a", 422, "invalid", "klingon"},
		{"no body", "", csv, "", 422, "invalid", "the file is empty"},
		{"no JSON body", "", js, "", 422, "invalid", "it ends too early"},
		{"no rooms", "?SdkAppId=7", js, `[]`, 422, "invalid", "the file is empty"},
		{"no valid room", "?SdkAppId=7", js, `[{"RoomId":0}]`, 422, "invalid", `"field":"RoomId","reason":"is 0`},
		{"strict", "?SdkAppId=7&strict=true", lines, "{\"RoomId\":1}\n{\"RoomId\":1}", 422, "invalid", `"line":2`},
		{"an invalid name", "?name=A", lines, `{"SdkAppId":7,"RoomId":1}`, 422, "invalid", "query.name"},
		{"an invalid name in the body", "", js, `{"name":"-","rooms":[{"SdkAppId":7,"RoomId":1}]}`, 422, "invalid",
			"name must be"},
		{"different names in query and body", "?name=a", js, `{"name":"b","rooms":[{"SdkAppId":7,"RoomId":1}]}`, 422,
			"invalid", "name is one thing"},
		{"an unknown parameter", "?nmae=a", lines, `{"SdkAppId":7,"RoomId":1}`, 422, "invalid", "nmae"},
		{"an unknown column", "", csv, "SdkAppId,RoomId,Romm\n7,1,2\n", 422, "invalid", "Romm"},
		{"an unknown member", "", js, `{"room":[{"SdkAppId":7,"RoomId":1}]}`, 422, "invalid", `\"room\" is not known`},
		{"an unknown default", "", js, `{"defaults":{"AppId":7},"rooms":[{"RoomId":1}]}`, 422, "invalid", "AppId"},
		{"an unknown member after the rooms", "", js, `{"rooms":[{"SdkAppId":7,"RoomId":1}],"room":true}`, 422, "invalid",
			`\"room\" is not known`},
		{"an unknown default after the rooms", "", js, `{"rooms":[{"SdkAppId":7,"RoomId":1}],"defaults":{"AppId":7}}`, 422,
			"invalid", "AppId"},
		{"strict after the rooms", "?SdkAppId=7", js, `{"rooms":[{"RoomId":1},{"RoomId":0}],"strict":true}`, 422, "invalid",
			`"line":2`},
		{"rooms twice", "", js, `{"rooms":[{"SdkAppId":7,"RoomId":1}],"rooms":[]}`, 422, "invalid", "appears twice"},
		{"rooms that are not an array", "", js, `{"rooms":{"SdkAppId":7,"RoomId":1}}`, 422, "invalid",
			"must be an array of rooms"},
		{"no member rooms", "", js, `{"name":"a"}`, 422, "invalid", "must be an array of rooms"},
		{"data after the object", "", js, `{"rooms":[{"SdkAppId":7,"RoomId":1}]}{}`, 422, "invalid", "there is more"},
		{"a truncated object", "", js, `{"rooms":[{"SdkAppId":7,"RoomId":1}],`, 422, "invalid",
			"after room 1: it ends too early"},
		{"data after the array", "", js, `[{"SdkAppId":7,"RoomId":1}] 1`, 422, "invalid", "there is more"},
		{"a truncated array", "", js, `[{"SdkAppId":7,"RoomId":1},{"SdkAppId"`, 422, "invalid",
			"after room 1: it ends too early"},
		{"invalid JSON", "", js, `[{"SdkAppId":7,"RoomId":1},{"SdkAppId"]`, 422, "invalid", "after room 1"},
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
		t.Run(test.name, func(t *testing.T) {
			s.T = t
			r := s.Send("POST", "/v1/batches"+test.path, test.body, "Content-Type", test.media)
			r.Problem(test.status, test.code)
			if !strings.Contains(r.Body, test.detail) {
				t.Errorf("the problem does not contain %q: %s", test.detail, r.Body)
			}
		})
	}
	s.T = t
	t.Run("too large, without Content-Length", func(t *testing.T) {
		body := io.MultiReader(strings.NewReader("SdkAppId,RoomId,Label.A\n"),
			bytes.NewReader(bytes.Repeat([]byte("7,1,"+strings.Repeat("a", 1000)+"\n"), 50)))
		r, err := http.NewRequestWithContext(t.Context(), "POST", s.URL+"/v1/batches", io.NopCloser(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "text/csv")
		r.Header.Set("Authorization", "Bearer "+s.Tokens[web.RoleProduce])
		s.Do(r).Problem(413, "too-large")
	})
	t.Run("a truncated request", func(t *testing.T) {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn,
			"POST /v1/batches?name=half HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: "+
				"text/csv\r\nContent-Length: 5000\r\n\r\nSdkAppId,RoomId\n7,1\n",
			s.Tokens[web.RoleProduce])
		conn.(*net.TCPConn).CloseWrite()
		all, err := io.ReadAll(conn)
		if err != nil || !bytes.Contains(all, []byte("broke off")) {
			t.Errorf("got %s, %v, want a problem that the list broke off", all, err)
		}
		conn.Close()
	})
	if left, err := s.Redis.Keys(t.Context(), "*").Result(); err != nil || len(left) != 0 {
		t.Errorf("Redis has the keys %v, %v, want none", left, err)
	}
}

func TestBadRows(t *testing.T) {
	s := webtest.NewService(t)
	var list strings.Builder
	list.WriteString("RoomId\n")
	for i := range 150 {
		fmt.Fprintf(&list, "%d\nx\n", i+1)
	}
	var got api.Enqueued
	s.Send("POST", "/v1/batches?SdkAppId=7", list.String(), "Content-Type", "text/csv").Want(202, &got)
	if got.Rooms != 150 || got.BadRows != 150 || len(got.Faults) != 100 {
		t.Errorf("%d rooms, %d bad rows, %d faults, want 150, 150 and 100", got.Rooms, got.BadRows, len(got.Faults))
	}
	if want := (web.Fault{Line: 3, Column: 1, Field: "RoomId",
		Reason: "is \"x\", it must be a whole number"}); got.Faults[0].Line != want.Line ||
		got.Faults[0].Field != want.Field {
		t.Errorf("the first fault is %+v, want line 3, RoomId", got.Faults[0])
	}
}

// With check=true the response is that of an enqueued list, but nothing is stored. That holds for every media type.
func TestCheck(t *testing.T) {
	s := webtest.NewService(t)
	for name, test := range map[string]struct{ media, body string }{
		"csv": {"text/csv", "SdkAppId,RoomId\n7,1\n7,x\n7,2\n7,1\n"},
		"lines": {"application/x-ndjson",
			"{\"SdkAppId\":7,\"RoomId\":1}\n{\"SdkAppId\":7}\n{\"SdkAppId\":7,\"RoomId\":2}\n7\n"},
		"object": {"application/json",
			`{"defaults":{"SdkAppId":7},"rooms":[{"RoomId":1},{"RoomId":"x"},{"RoomId":2},{"RoomId":2}]}`},
	} {
		var got api.Enqueued
		s.Send("POST", "/v1/batches?check=true&name=monday", test.body, "Content-Type", test.media, "Idempotency-Key", "k").
			Want(200, &got)
		if got.ID != "" || got.Rooms != 2 || got.Created || got.BadRows != 2 || len(got.Faults) != 2 ||
			got.Faults[0].Reason == "" {
			t.Errorf("%s: got %+v, want 2 rooms and 2 bad rows, not created", name, got)
		}
	}
	for path, body := range map[string]string{
		"/v1/batches?check=true":                        "SdkAppId,RoomId\n7,x\n",
		"/v1/batches?check=true&strict=true":            "SdkAppId,RoomId\n7,1\n7,x\n",
		"/v1/batches?check=true&webhook=http://else/":   "SdkAppId,RoomId\n7,1\n",
		"/v1/batches?check=true&CallbackURL=gopher://x": "SdkAppId,RoomId\n7,1\n",
	} {
		s.Send("POST", path, body, "Content-Type", "text/csv").Problem(422, "invalid")
	}
	if left, err := s.Redis.Keys(t.Context(), "*").Result(); err != nil || len(left) != 0 {
		t.Errorf("Redis has the keys %v, %v, want none", left, err)
	}
	s.Send("POST", "/v1/batches?name=monday", "SdkAppId,RoomId\n7,1\n", "Content-Type", "text/csv",
		"Idempotency-Key", "k").
		Want(202, nil)
}
