package tiw_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common"

	"tiwsnap/tiw"
)

func TestRequests(t *testing.T) {
	t.Parallel()
	var got *http.Request
	var body string
	record := func(response string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			got, body = r, string(b)
			io.WriteString(w, response)
		}
	}
	checkRequest := func(t *testing.T, host, action, wantBody string) {
		t.Helper()
		want := map[string]string{
			"Method": "POST", "Path": "/", "Host": host,
			"Content-Type": "application/json", "X-Tc-Action": action, "X-Tc-Version": "2019-09-19",
			"X-Tc-Region": "ap-singapore", "X-Tc-Language": "en-US", "X-Tc-Token": "token-1",
		}
		have := map[string]string{"Method": got.Method, "Path": got.URL.Path, "Host": got.Host}
		for name := range want {
			if v := got.Header.Get(name); v != "" {
				have[name] = v
			}
		}
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("header (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(wantBody, body); diff != "" {
			t.Errorf("body (-want +got):\n%s", diff)
		}
		today := time.Now().UTC().Format(time.DateOnly)
		scope := "TC3-HMAC-SHA256 Credential=AKID-1/" + today +
			"/tiw/tc3_request, SignedHeaders=content-type;host, Signature="
		if a := got.Header.Get("Authorization"); !strings.HasPrefix(a, scope) {
			t.Errorf("Authorization is %q, want the prefix %q", a, scope)
		}
	}
	credential := common.NewTokenCredential("AKID-1", "key-1", "token-1")

	t.Run("a task with every field", func(t *testing.T) {
		s := serve(t, record(created))
		r := tiw.NewCreateSnapshotTaskRequest()
		r.Whiteboard = &tiw.SnapshotWhiteboard{
			Width: common.Uint64Ptr(0), Height: common.Uint64Ptr(2560), InitParams: common.StringPtr(`{"ratio":"4:3"}`),
		}
		r.SdkAppId = common.Uint64Ptr(1400123480)
		r.RoomId = common.Uint64Ptr(4294967295)
		r.CallbackURL = common.StringPtr("https://example.org/cb")
		r.COS = &tiw.SnapshotCOS{
			Uin: common.Uint64Ptr(100000000001), Region: common.StringPtr("ap-guangzhou"),
			Bucket:    common.StringPtr("b-1250000000"),
			TargetDir: common.StringPtr("boards"), Domain: common.StringPtr("cdn.example.org"),
		}
		r.SnapshotMode = common.StringPtr("LatestMarksOnly")
		p, err := newClient(t, tiw.Options{Endpoint: s.URL + "/", Credential: credential}).CreateSnapshotTask(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if *p.TaskID != "task-1" || *p.RequestId != "req-1" {
			t.Errorf("TaskID and RequestId are %q and %q", *p.TaskID, *p.RequestId)
		}
		checkRequest(t, s.Listener.Addr().String(), "CreateSnapshotTask",
			`{"Whiteboard":{"Width":0,"Height":2560,"InitParams":"{\"ratio\":\"4:3\"}"},`+
				`"SdkAppId":1400123480,"RoomId":4294967295,"CallbackURL":"https://example.org/cb",`+
				`"COS":{"Uin":100000000001,"Region":"ap-guangzhou","Bucket":"b-1250000000","TargetDir":"boards",`+
				`"Domain":"cdn.example.org"},`+
				`"SnapshotMode":"LatestMarksOnly"}`)
	})
	t.Run("a task with the required fields only", func(t *testing.T) {
		s := serve(t, record(created))
		if _, err := create(t.Context(), newClient(t, tiw.Options{Endpoint: s.URL, Credential: credential})); err != nil {
			t.Fatal(err)
		}
		checkRequest(t, s.Listener.Addr().String(), "CreateSnapshotTask",
			`{"Whiteboard":{},"SdkAppId":1400123480,"RoomId":12345}`)
	})
	t.Run("a Describe over TLS", func(t *testing.T) {
		s := serveTLS(t, record(`{"Response":{"Status":"Running"}}`))
		if _, err := describe(t.Context(), newClient(t, tiw.Options{Endpoint: s.URL, Credential: credential})); err != nil {
			t.Fatal(err)
		}
		checkRequest(t, s.Listener.Addr().String(), "DescribeSnapshotTask", `{"TaskID":"task-1","SdkAppId":1400123480}`)
		if got.ProtoMajor != 1 {
			t.Errorf("the request used %s, want HTTP/1.1", got.Proto)
		}
	})
	t.Run("a compressed response", func(t *testing.T) {
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			io.WriteString(z, created)
			z.Close()
		})
		if id, err := create(t.Context(), newClient(t, tiw.Options{Endpoint: s.URL})); id != "task-1" {
			t.Errorf("TaskID = %q, %v, want task-1", id, err)
		}
	})
}

func TestInvalidOptions(t *testing.T) {
	t.Parallel()
	credential := common.NewCredential("AKID-1", "key-1")
	const want = "want a URL such as https://tiw.tencentcloudapi.com or http://127.0.0.1:8089"
	for _, test := range []struct {
		name    string
		options tiw.Options
		want    string
	}{
		{"an endpoint without a scheme", tiw.Options{Endpoint: "tiw.tencentcloudapi.com"},
			`endpoint "tiw.tencentcloudapi.com": ` + want},
		{"an endpoint with host and port only", tiw.Options{Endpoint: "localhost:8089"},
			`endpoint "localhost:8089": ` + want},
		{"a scheme other than http and https", tiw.Options{Endpoint: "redis://127.0.0.1"},
			`endpoint "redis://127.0.0.1": ` + want},
		{"no host", tiw.Options{Endpoint: "http://:80"}, `endpoint "http://:80": ` + want},
		{"a path", tiw.Options{Endpoint: "http://127.0.0.1/v1"},
			`endpoint "http://127.0.0.1/v1" has more than scheme, host and port: ` + want},
		{"a query", tiw.Options{Endpoint: "http://127.0.0.1?a=b"},
			`endpoint "http://127.0.0.1?a=b" has more than scheme, host and port: ` + want},
		{"a password", tiw.Options{Endpoint: "http://me:canary@127.0.0.1"}, "endpoint has a user name in it: " + want},
		{"a password in an invalid URL", tiw.Options{Endpoint: "http://me:canary@127.0.0.1:a"},
			`endpoint cannot be parsed (invalid port ":a" after host): ` + want},
		{"a region with a line break", tiw.Options{Region: "ap-singapore\n"},
			`region "ap-singapore\n": want a name such as ap-singapore`},
		{"a negative timeout", tiw.Options{Timeout: -time.Second}, "timeout -1s: want more than 0"},
		{"negative connections", tiw.Options{MaxConns: -1}, "connections -1: want 1 or more"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.options.Credential = credential
			_, err := tiw.New(test.options)
			if diff := cmp.Diff(test.want, fmt.Sprint(err)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	t.Run("the error lists every invalid option", func(t *testing.T) {
		_, err := tiw.New(tiw.Options{Endpoint: "x", Timeout: -1})
		if got := fmt.Sprint(err); strings.Count(got, "\n") != 2 ||
			!strings.Contains(got, "credential is missing: want a SecretId and a SecretKey") {
			t.Errorf("New() failed with %q, want three lines, one about the credential", got)
		}
	})
	t.Run("the defaults are valid", func(t *testing.T) {
		newClient(t, tiw.Options{})
	})
}

// The SDK's retries would create tasks twice, and its region breaker sends requests to another host. Other tests check
// the requests themselves. This test fails when a new SDK release adds another such option.
func TestSDKRetriesAreDisabled(t *testing.T) {
	t.Parallel()
	c := newClient(t, tiw.Options{Endpoint: "http://127.0.0.1:8089"})
	sdk := reflect.ValueOf(c).Elem().FieldByName("sdk").Elem()
	profile := sdk.FieldByName("profile").Elem()
	got := map[string]string{"rb": fmt.Sprint(sdk.FieldByName("rb")), "debug": fmt.Sprint(sdk.FieldByName("debug"))}
	for i := range profile.NumField() {
		if f := profile.Field(i); f.Kind() != reflect.Func && f.Kind() != reflect.Pointer {
			got[profile.Type().Field(i).Name] = fmt.Sprint(f)
		}
	}
	http := profile.FieldByName("HttpProfile").Elem()
	for i := range http.NumField() {
		got["Http."+http.Type().Field(i).Name] = fmt.Sprint(http.Field(i))
	}
	want := map[string]string{
		"rb": "<nil>", "debug": "false", "Debug": "false", "DisableRegionBreaker": "true", "BackupEndPoint": "",
		"BackupEndpoint":           "",
		"NetworkFailureMaxRetries": "0", "RateLimitExceededMaxRetries": "0", "UnsafeRetryOnConnectionFailure": "false",
		"SignMethod": "TC3-HMAC-SHA256", "UnsignedPayload": "false", "Language": "en-US",
		"Http.ReqMethod": "POST", "Http.ReqTimeout": "0", "Http.Protocol": "", "Http.Scheme": "http", "Http.RootDomain": "",
		"Http.Endpoint": "127.0.0.1:8089", "Http.ApigwEndpoint": "", "Http.Proxy": "",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// The keys appear only in the request, even if the server echoes the request in its response.
func TestSecretsAreRedacted(t *testing.T) {
	const id, key, token, callback = "AKIDcanary-id", "canary-key", "canary-token", "https://example.org/cb/canary"
	stderr, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	defer func(f *os.File) { os.Stderr = f }(os.Stderr)
	os.Stderr = stderr

	echo := func(status int, format string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(status)
			if format == "" {
				dump, _ := httputil.DumpRequest(r, true)
				w.Write(dump)
				return
			}
			quoted, _ := json.Marshal(r.Header.Get("Authorization") + r.Header.Get("X-TC-Token") + key + callback)
			fmt.Fprintf(w, format, quoted)
		}
	}
	closed := closedURL(t)
	var out bytes.Buffer
	printAll := func(v any) {
		fmt.Fprintf(&out, "%v %+v %#v %s\n", v, v, v, v)
		b, _ := json.Marshal(v)
		out.Write(b)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
	}
	for name, endpoint := range map[string]string{
		"a page":          serve(t, echo(502, "")).URL,
		"a page with 200": serve(t, echo(200, "")).URL,
		"an object":       serve(t, echo(200, `{"Response":{"TaskID":7,"Echo":%s}}`)).URL,
		"an error envelope": serve(t,
			echo(200, `{"Response":{"Error":{"Code":"AuthFailure.SignatureFailure","Message":%s}}}`)).URL,
		"a closed port":      closed,
		"a connection reset": serve(t, hijack(t, reset)).URL,
	} {
		c := newClient(t, tiw.Options{Endpoint: endpoint, Credential: common.NewTokenCredential(id, key, token)})
		r := tiw.NewCreateSnapshotTaskRequest()
		r.CallbackURL = common.StringPtr(callback)
		_, err := c.CreateSnapshotTask(t.Context(), r)
		e := apiError(t, err)
		if strings.Contains(e.Message, "SignedHeaders") && !strings.Contains(e.Message, "Signature=***") {
			t.Errorf("%s: the error %v contains the signature", name, e)
		}
		printAll(e)
		printAll(*e)
		printAll(c)
	}
	// A secret from a file may end in a line break.
	s := serve(t, respond(200, created))
	for _, credential := range []*common.Credential{
		common.NewTokenCredential(id+"\n", key, token),
		common.NewTokenCredential(id, key, token+"\r\n"),
	} {
		_, err := create(t.Context(), newClient(t, tiw.Options{Endpoint: s.URL, Credential: credential}))
		e := apiError(t, err)
		if e.Code != "ClientError.BuildRequestError" || e.Class != tiw.Account {
			t.Errorf("credential with a line break: got %v, want ClientError.BuildRequestError of class account", e)
		}
		printAll(e)
	}
	if s.hits.Load() != 0 {
		t.Error("a request with an invalid header was sent")
	}

	if bytes.Contains(bytes.ToLower(out.Bytes()), []byte("canary")) {
		t.Errorf("the output contains a secret:\n%s", out.String())
	}
	if b, err := os.ReadFile(stderr.Name()); err != nil || len(b) > 0 {
		t.Errorf("stderr has %q, %v, want nothing", b, err)
	}
}

// rotatingCredential is a credential that changes on every read.
type rotatingCredential struct{ reads atomic.Int64 }

func (r *rotatingCredential) GetCredential() (id, key, token string) {
	n := strings.Repeat("x", int(r.reads.Add(1)))
	return "canary-id-" + n + "-", "canary-key-" + n + "-", "canary-token-" + n + "-"
}

func (r *rotatingCredential) GetSecretId() string  { id, _, _ := r.GetCredential(); return id }
func (r *rotatingCredential) GetSecretKey() string { _, key, _ := r.GetCredential(); return key }
func (r *rotatingCredential) GetToken() string     { _, _, token := r.GetCredential(); return token }

func TestCallReadsCredentialOnce(t *testing.T) {
	t.Parallel()
	// The server echoes the SecretId and the token. It also sends the key, which it derives from the token.
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		token := r.Header.Get("X-TC-Token")
		key := strings.Replace(token, "token", "key", 1)
		id, _, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("Authorization"), "TC3-HMAC-SHA256 Credential="), "/")
		if id != strings.Replace(token, "token", "id", 1) {
			t.Errorf("the request has SecretId %s and token %s of different credentials", id, token)
		}
		io.WriteString(w, `{"Response":{"Error":{"Code":"AuthFailure","Message":"`+id+key+token+`"}}}`)
	})
	var r rotatingCredential
	c := newClient(t, tiw.Options{Endpoint: s.URL, Credential: &r})
	for n := range int64(3) {
		_, err := create(t.Context(), c)
		if e := apiError(t, err); e.Message != "*********" {
			t.Errorf("message is %q, want nine asterisks", e.Message)
		}
		if got := r.reads.Load(); got != n+1 {
			t.Errorf("the credential was read %d times in %d calls", got, n+1)
		}
	}
}
