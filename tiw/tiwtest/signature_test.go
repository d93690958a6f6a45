package tiwtest_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"tiwsnap/tiw/tiwtest"
)

// The sample is from Tencent's "Signature v3" page. Its service and host belong to another product, so a request with a
// valid signature gets the error of an unknown action.
func TestDocumentedSignature(t *testing.T) {
	const (
		stamp = 1551113065
		body  = `{"Limit": 1, "Filters": [{"Values": ["\u672a\u547d\u540d"], "Name": "instance-name"}]}`
		want  = "72e494ea809ad7a8c8f7a4507b9bddcbaa8e581f516e8da2f66e2c5a96525168"
	)
	if got := sha(body); got != "35e9c5b0e3ae67532d3c9f17ead6c90222632e5b1ff7f6e89887f1398934f064" {
		t.Fatalf("the hash of the body is %s, want that of the sample", got)
	}
	c := newCaller("cvm.tencentcloudapi.com")
	c.key, c.service = "Gu5t9xGARNpq86cd98joQYCN3EXAMPLE", "cvm"
	c.now = func() time.Time { return time.Unix(stamp, 0) }
	c.header = map[string]string{"Content-Type": "application/json; charset=utf-8"}
	srv := newServer(t, tiwtest.Options{
		Credentials: map[string]tiwtest.Secret{"simulator": tiwtest.Secret(c.key)}, Clock: c.now,
	})

	t.Run("the published signature is accepted", func(t *testing.T) {
		r := c.request(t, "DescribeInstances", body)
		r.Header.Set("Authorization",
			"TC3-HMAC-SHA256 Credential=simulator/2019-02-25/cvm/tc3_request, SignedHeaders=content-type;host, Signature="+want)
		if got := serve(t, srv, r).code(); got != "InvalidAction" {
			t.Errorf("got %s, want InvalidAction", got)
		}
	})
	t.Run("a changed signature is rejected", func(t *testing.T) {
		r := c.request(t, "DescribeInstances", body)
		r.Header.Set("Authorization",
			"TC3-HMAC-SHA256 Credential=simulator/2019-02-25/cvm/tc3_request, "+
				"SignedHeaders=content-type;host, Signature="+strings.Replace(want, "7", "8", 1))
		if got := serve(t, srv, r).code(); got != "AuthFailure.SignatureFailure" {
			t.Errorf("got %s, want AuthFailure.SignatureFailure", got)
		}
	})
	t.Run("the published hash that covers x-tc-action is accepted", func(t *testing.T) {
		r := c.request(t, "DescribeInstances", body)
		c.authorize(r, stamp, []string{"content-type", "host", "x-tc-action"},
			"7019a55be8395899b900fb5564e4200d984910f34794a27cb3fb7d10ff6a1e84")
		if got := serve(t, srv, r).code(); got != "InvalidAction" {
			t.Errorf("got %s, want InvalidAction", got)
		}
	})
}

func TestSignature(t *testing.T) {
	const at = 1760000000
	for _, test := range []struct {
		name   string
		opt    tiwtest.Options
		caller func(*caller)
		modify func(*http.Request)
		want   string
	}{
		{name: "a plain signature is accepted", want: "OK"},
		{name: "the host may be signed with its port", caller: func(c *caller) { c.signHost = "127.0.0.1:9090" }, want: "OK"},
		{name: "the host may be signed without its port", caller: func(c *caller) { c.signHost = "127.0.0.1" }, want: "OK"},
		{name: "another host is rejected", caller: func(c *caller) { c.signHost = "127.0.0.1:9091" },
			want: "AuthFailure.SignatureFailure"},
		{name: "the service may be the first label of the host", caller: func(c *caller) { c.service = "127" }, want: "OK"},
		{name: "StrictService rejects the first label", opt: tiwtest.Options{StrictService: true},
			caller: func(c *caller) { c.service = "127" }, want: "AuthFailure.SignatureFailure"},
		{name: "StrictService accepts tiw", opt: tiwtest.Options{StrictService: true}, want: "OK"},
		{name: "another service is rejected", caller: func(c *caller) { c.service = "cvm" },
			want: "AuthFailure.SignatureFailure"},
		{name: "further headers may be signed", caller: func(c *caller) {
			c.signed = []string{"content-type", "host", "x-tc-action", "x-tc-timestamp", "x-tc-region"}
		}, want: "OK"},
		{name: "a changed signed header is rejected", caller: func(c *caller) {
			c.signed = []string{"content-type", "host", "x-tc-region"}
		}, modify: func(r *http.Request) { r.Header.Set("X-TC-Region", "ap-guangzhou") },
			want: "AuthFailure.SignatureFailure"},
		{name: "host must be signed", caller: func(c *caller) { c.signed = []string{"content-type"} },
			want: "AuthFailure.InvalidAuthorization"},
		{name: "content-type must be signed", caller: func(c *caller) { c.signed = []string{"host"} },
			want: "AuthFailure.InvalidAuthorization"},
		{name: "no Authorization", modify: func(r *http.Request) { r.Header.Del("Authorization") },
			want: "AuthFailure.InvalidAuthorization"},
		{name: "another algorithm", modify: func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "TC3-", "TC4-", 1))
		}, want: "AuthFailure.InvalidAuthorization"},
		{name: "a truncated scope", modify: func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "/tc3_request", "", 1))
		}, want: "AuthFailure.InvalidAuthorization"},
		{name: "no spaces between the parts", modify: func(r *http.Request) {
			r.Header.Set("Authorization", strings.ReplaceAll(r.Header.Get("Authorization"), ", ", ","))
		}, want: "OK"},
		{name: "an unknown secret id", caller: func(c *caller) { c.id = "nobody" }, want: "AuthFailure.SecretIdNotFound"},
		{name: "a wrong key", caller: func(c *caller) { c.key = "wrong" }, want: "AuthFailure.SignatureFailure"},
		{name: "a body other than the signed one", caller: func(c *caller) { c.payload = room7 + " " },
			want: "AuthFailure.SignatureFailure"},
		{name: "an unsigned payload", caller: func(c *caller) {
			c.payload = "UNSIGNED-PAYLOAD"
			c.header = map[string]string{"X-TC-Content-SHA256": "UNSIGNED-PAYLOAD"}
		}, want: "OK"},
		{name: "300 seconds late is accepted", caller: func(c *caller) { c.now = clockAt(at - 300) }, want: "OK"},
		{name: "301 seconds late is rejected", caller: func(c *caller) { c.now = clockAt(at - 301) },
			want: "AuthFailure.SignatureExpire"},
		{name: "300 seconds early is accepted", caller: func(c *caller) { c.now = clockAt(at + 300) }, want: "OK"},
		{name: "301 seconds early is rejected", caller: func(c *caller) { c.now = clockAt(at + 301) },
			want: "AuthFailure.SignatureExpire"},
		{name: "no timestamp", modify: func(r *http.Request) { r.Header.Del("X-TC-Timestamp") }, want: "MissingParameter"},
		{name: "a timestamp that is not a number", modify: func(r *http.Request) { r.Header.Set("X-TC-Timestamp", "now") },
			want: "InvalidParameter"},
		{name: "the date of the scope differs from the timestamp", modify: func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "/2025-10-09/", "/2025-10-08/", 1))
		}, want: "AuthFailure.SignatureFailure"},
		{name: "the right token", opt: tiwtest.Options{Tokens: map[string]tiwtest.Secret{"simulator": "tok"}},
			caller: func(c *caller) { c.header = map[string]string{"X-TC-Token": "tok"} }, want: "OK"},
		{name: "a wrong token", opt: tiwtest.Options{Tokens: map[string]tiwtest.Secret{"simulator": "tok"}},
			caller: func(c *caller) { c.header = map[string]string{"X-TC-Token": "tik"} }, want: "AuthFailure.TokenFailure"},
		{name: "no token", opt: tiwtest.Options{Tokens: map[string]tiwtest.Secret{"simulator": "tok"}},
			want: "AuthFailure.TokenFailure"},
		{name: "a token for a secret id without one",
			caller: func(c *caller) { c.header = map[string]string{"X-TC-Token": "tok"} }, want: "AuthFailure.TokenFailure"},

		{name: "GET", modify: func(r *http.Request) { r.Method = "GET" }, want: "UnsupportedProtocol"},
		{name: "a form", caller: func(c *caller) {
			c.header = map[string]string{"Content-Type": "application/x-www-form-urlencoded"}
		}, want: "UnsupportedProtocol"},
		{name: "no action", modify: func(r *http.Request) { r.Header.Del("X-TC-Action") }, want: "MissingParameter"},
		{name: "an unknown action", modify: func(r *http.Request) { r.Header.Set("X-TC-Action", "CreateTranscode") },
			want: "InvalidAction"},
		{name: "an unknown version",
			caller: func(c *caller) { c.header = map[string]string{"X-TC-Version": "2017-03-12"} }, want: "NoSuchVersion"},
		{name: "no region", modify: func(r *http.Request) { r.Header.Del("X-TC-Region") }, want: "MissingParameter"},
		{name: "an unsupported region", opt: tiwtest.Options{Regions: []string{"ap-guangzhou"}},
			want: "UnsupportedRegion"},
		{name: "a supported region", opt: tiwtest.Options{Regions: []string{"ap-guangzhou", "ap-singapore"}},
			want: "OK"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.opt.Clock = clockAt(at)
			srv := newServer(t, test.opt)
			c := newCaller("127.0.0.1:9090")
			c.now = clockAt(at)
			if test.caller != nil {
				test.caller(c)
			}
			r := c.request(t, create, room7)
			if test.modify != nil {
				test.modify(r)
			}
			got := serve(t, srv, r)
			if got.code() != test.want {
				t.Errorf("got %s, want %s", got.code(), test.want)
			}
			wantTasks := int64(0)
			if test.want == "OK" {
				wantTasks = 1
			}
			if n := srv.State().Tasks.Created; n != wantTasks {
				t.Errorf("%d tasks were created, want %d", n, wantTasks)
			}
		})
	}
}

func TestSetCredentials(t *testing.T) {
	srv := newServer(t, tiwtest.Options{})
	before, after := newCaller("h"), newCaller("h")
	after.id, after.key = "new", "new-key"
	wantCodes := func(wantBefore, wantAfter string) {
		t.Helper()
		if got := serve(t, srv, before.request(t, create, room7)).code(); got != wantBefore {
			t.Errorf("the old key got %s, want %s", got, wantBefore)
		}
		if got := serve(t, srv, after.request(t, create, room7)).code(); got != wantAfter {
			t.Errorf("the new key got %s, want %s", got, wantAfter)
		}
	}
	wantCodes("OK", "AuthFailure.SecretIdNotFound")
	srv.SetCredentials(map[string]tiwtest.Secret{"simulator": "simulator", "new": "new-key"})
	wantCodes("OK", "OK")
	srv.SetCredentials(map[string]tiwtest.Secret{"new": "new-key"})
	wantCodes("AuthFailure.SecretIdNotFound", "OK")
}

// clockAt returns a clock that stands still, in Unix seconds.
func clockAt(s int64) func() time.Time { return func() time.Time { return time.Unix(s, 0) } }
