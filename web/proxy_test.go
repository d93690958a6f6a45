package web_test

import (
	"net/http"
	"net/netip"
	"testing"

	"tiwsnap/internal/needs"
	"tiwsnap/web"
	"tiwsnap/web/pages"
	"tiwsnap/web/webtest"
)

func TestClientAddressBehindProxy(t *testing.T) {
	auth, err := web.NewAuth(web.AuthOptions{})
	if err != nil {
		t.Fatal(err)
	}
	showAddress := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(r.RemoteAddr)) })
	h := web.NewHandler(web.HandlerOptions{Auth: auth, Proxies: []netip.Prefix{
		netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00::/8"),
	}}, web.Route{Pattern: "/where", Handler: showAddress},
		web.Route{Pattern: "/mine", Role: web.RoleView, Handler: webtest.Echo})
	for _, test := range []struct{ from, forwarded, want string }{
		{"127.0.0.1:40000", "", "127.0.0.1:40000"},
		{"127.0.0.1:40000", "192.0.2.7", "192.0.2.7:0"},
		{"127.0.0.1:40000", "192.0.2.66, 192.0.2.7", "192.0.2.7:0"}, // the first is forged
		{"127.0.0.1:40000", "192.0.2.7, 10.1.2.3", "192.0.2.7:0"},   // through two trusted proxies
		{"127.0.0.1:40000", "192.0.2.66, 192.0.2.7,10.1.2.3 , 10.1.2.4", "192.0.2.7:0"},
		{"127.0.0.1:40000", "10.1.2.3", "10.1.2.3:0"},
		{"127.0.0.1:40000", "127.0.0.1", "127.0.0.1:40000"},
		{"127.0.0.1:40000", "192.0.2.7:1234", "192.0.2.7:0"},
		{"127.0.0.1:40000", "2001:db8::7", "[2001:db8::7]:0"},
		{"127.0.0.1:40000", "[2001:db8::7]:1234", "[2001:db8::7]:0"},
		{"127.0.0.1:40000", "::ffff:192.0.2.7", "192.0.2.7:0"},
		{"127.0.0.1:40000", "192.0.2.7, unknown", "127.0.0.1:40000"},
		{"127.0.0.1:40000", "unknown, 10.1.2.3", "10.1.2.3:0"},
		{"127.0.0.1:40000", "192.0.2.7, ", "127.0.0.1:40000"},
		{"[::ffff:127.0.0.1]:40000", "192.0.2.7", "192.0.2.7:0"},
		{"[fd12::1]:40000", "192.0.2.7", "192.0.2.7:0"},
		{"192.0.2.9:40000", "127.0.0.1", "192.0.2.9:40000"}, // not a trusted proxy
		{"@", "127.0.0.1", "@"},
	} {
		header := []string{"from", test.from, "Host", "localhost"}
		if test.forwarded != "" {
			header = append(header, "X-Forwarded-For", test.forwarded)
		}
		if w := webtest.Ask(t, h, "GET", "/where", header...); w.Body.String() != test.want {
			t.Errorf("from %s with X-Forwarded-For %q: address %s, want %s", test.from, test.forwarded, w.Body, test.want)
		}
	}
	// A client behind a local proxy is not a local client.
	if w := webtest.Ask(t, h, "GET", "/mine", "from", "127.0.0.1:40000", "X-Forwarded-For",
		"192.0.2.7"); w.Code != http.StatusUnauthorized {
		t.Errorf("remote client: status %d, want 401", w.Code)
	}
	if w := webtest.Ask(t, h, "GET", "/mine", "from", "127.0.0.1:40000"); w.Code != http.StatusOK {
		t.Errorf("local client: status %d, want 200", w.Code)
	}
}

// Each client behind a proxy has its own limit of login attempts.
func TestLoginRateLimitBehindProxy(t *testing.T) {
	needs.Time(t)
	d := newLoginSite(t)
	auth, err := web.NewAuth(d.options)
	if err != nil {
		t.Fatal(err)
	}
	d.handler = web.NewHandler(web.HandlerOptions{Auth: auth,
		Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}},
		pages.New(pages.Options{Auth: auth}).Routes()...)
	last := 0
	for range 15 {
		last = d.logIn("ada", "wrong", "", "X-Forwarded-For", "192.0.2.7").Code
	}
	if last != http.StatusTooManyRequests {
		t.Errorf("after 15 wrong passwords: status %d, want 429", last)
	}
	if w := d.logIn("ada", webtest.Password, "", "X-Forwarded-For", "192.0.2.8"); w.Code != http.StatusSeeOther {
		t.Errorf("another client: status %d, want 303", w.Code)
	}
}
