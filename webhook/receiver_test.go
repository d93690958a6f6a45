package webhook_test

import (
	"net/url"
	"testing"

	"tiwsnap/webhook"
)

func TestParseURL(t *testing.T) {
	for s, want := range map[string]string{
		"https://hook.test":               "hook.test",
		"https://HOOK.test./a?b":          "hook.test",
		"https://hook.test:443/":          "hook.test",
		"https://hook.test:8443/":         "hook.test:8443",
		"https://hook.test:80/":           "hook.test:80",
		"https://[2001:DB8::1]/":          "[2001:db8::1]",
		"https://[2001:db8::1]:8443/":     "[2001:db8::1]:8443",
		"http://hook.test":                "must be https://: http is not allowed by the settings",
		"":                                "must be a URL as in https://HOST/PATH",
		"hook.test":                       "must be a URL as in https://HOST/PATH",
		"https:///path":                   "must be a URL as in https://HOST/PATH",
		"https://:443":                    "must be a URL as in https://HOST/PATH",
		"ftp://hook.test":                 "must be a URL as in https://HOST/PATH",
		"file:///etc/passwd":              "must be a URL as in https://HOST/PATH",
		"gopher://hook.test":              "must be a URL as in https://HOST/PATH",
		"https://hook.test\r\nX: y":       "must be a URL as in https://HOST/PATH",
		"https://u:p@hook.test":           "must not contain a user or a password: webhooks are signed",
		"https://hook.test#x":             "must not have a fragment (#)",
		"https://①②⑦.⓪.⓪.①/":              "must have a host name in ASCII (xn--…)",
		"https://127。0。0。1/":              "must have a host name in ASCII (xn--…)",
		"https://hook.test%2f@127.0.0.1/": "must not contain a user or a password: webhooks are signed",
		"https://hook.test\\@127.0.0.1/":  "must be a URL as in https://HOST/PATH",
		"https://hook.test%00.evil.test/": "must be a URL as in https://HOST/PATH",
	} {
		t.Run(s, func(t *testing.T) {
			u, err := webhook.ParseURL(s, false)
			got := ""
			if err != nil {
				got = err.Error()
			} else {
				got = webhook.Host(u)
			}
			if got != want {
				t.Errorf("ParseURL() = %q, want %q", got, want)
			}
		})
	}
	if u, err := webhook.ParseURL("http://hook.test:80/", true); err != nil || webhook.Host(u) != "hook.test" {
		t.Errorf("ParseURL() of a URL with port 80 = %v, %v", u, err)
	}
	if u, _ := url.Parse("http://hook.test:443/"); webhook.Host(u) != "hook.test:443" {
		t.Errorf("Host() = %q, want hook.test:443", webhook.Host(u))
	}
}
