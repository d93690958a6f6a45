package config_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/config"
)

const (
	hookSecret = "TIWSNAP_WEBHOOK_SECRET=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	hookURL    = "TIWSNAP_WEBHOOK_URL=https://hooks.example.com/K3Y?also=K3Y"
)

func TestWebhookErrors(t *testing.T) {
	const badSecret = `must be whsec_ and 24 to 64 bytes in base64; make one with: echo whsec_$(openssl rand -base64 32)`
	for _, test := range []struct {
		environ []string
		want    string
	}{
		{[]string{hookURL},
			"TIWSNAP_WEBHOOK_SECRET: is missing: set it, or TIWSNAP_WEBHOOK_SECRET_FILE, to the output of: echo " +
				"whsec_$(openssl rand -base64 32)"},
		{[]string{"TIWSNAP_WEBHOOK_ALLOW=hooks.example.com"},
			"TIWSNAP_WEBHOOK_SECRET: is missing: set it, or TIWSNAP_WEBHOOK_SECRET_FILE, to the output of: echo " +
				"whsec_$(openssl rand -base64 32)"},
		{[]string{hookURL, "TIWSNAP_WEBHOOK_SECRET=K3Y"}, "TIWSNAP_WEBHOOK_SECRET: " + badSecret},
		{[]string{hookURL, hookSecret, "TIWSNAP_WEBHOOK_SECRET_OLD=whsec_K3Y="}, "TIWSNAP_WEBHOOK_SECRET_OLD: " + badSecret},
		{[]string{hookSecret, "TIWSNAP_WEBHOOK_URL=hooks.example.com/K3Y"},
			"TIWSNAP_WEBHOOK_URL: must be a URL as in https://HOST/PATH"},
		{[]string{hookSecret, "TIWSNAP_WEBHOOK_URL=https://u:K3Y@hooks.example.com"},
			"TIWSNAP_WEBHOOK_URL: must not contain a user or a password: webhooks are signed"},
		{[]string{hookSecret, "TIWSNAP_WEBHOOK_URL=https://hooks.example.com/***"},
			`TIWSNAP_WEBHOOK_URL: is the placeholder that config print shows: give the URL itself`},
		{[]string{hookSecret, "TIWSNAP_WEBHOOK_URL=http://hooks.example.com/K3Y"},
			"TIWSNAP_WEBHOOK_URL: must be https://: http is not allowed by the settings: TIWSNAP_WEBHOOK_HTTP=true allows it"},
		{[]string{"TIWSNAP_WEBHOOK_EVENTS=batch,room"},
			`TIWSNAP_WEBHOOK_EVENTS: "batch,room" must be snapshot or batch or images or schedule, or several of ` +
				`them separated by commas`},
		{[]string{"TIWSNAP_WEBHOOK_EVENTS=,"},
			`TIWSNAP_WEBHOOK_EVENTS: "," must be snapshot or batch or images or schedule, or several of them ` +
				`separated by commas`},
		{[]string{"TIWSNAP_WEBHOOK_ALLOW=ok.example.com,https://x.example.com"},
			`TIWSNAP_WEBHOOK_ALLOW: "ok.example.com,https://x.example.com" must be hosts such as hooks.example.com ` +
				`or hooks.example.com:8443, separated by commas: "https://x.example.com" is not a host`},
		{[]string{"TIWSNAP_WEBHOOK_ALLOW=x.example.com/path"},
			`TIWSNAP_WEBHOOK_ALLOW: "x.example.com/path" must be hosts such as hooks.example.com or ` +
				`hooks.example.com:8443, separated by commas: "x.example.com/path" is not a host`},
		{[]string{"TIWSNAP_WEBHOOK_PRIVATE=10.1.2.3/24"},
			`TIWSNAP_WEBHOOK_PRIVATE: "10.1.2.3/24" must be host names, addresses and networks, separated by commas: ` +
				`"10.1.2.3/24" is not a network: write 10.1.2.0/24, or the address alone`},
		{[]string{"TIWSNAP_WEBHOOK_HTTP=yes"}, `TIWSNAP_WEBHOOK_HTTP: "yes" must be true or false`},
	} {
		t.Run(strings.Join(test.environ, " "), func(t *testing.T) {
			_, err := config.Load(config.Source{Environ: test.environ})
			if err == nil {
				t.Fatal("Load() = nil, want an error")
			}
			if diff := cmp.Diff(test.want, err.Error()); diff != "" {
				t.Errorf("Load() error (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWebhookSettings(t *testing.T) {
	if c := load(t, config.Source{}); c.Webhook.On() || c.Webhook.HTTP ||
		!cmp.Equal(c.Webhook.Events, []string{"snapshot", "batch", "images", "schedule"}) {
		t.Errorf("default Webhook = %+v", c.Webhook)
	}
	c := load(t, config.Source{
		Environ: []string{hookURL, hookSecret, "TIWSNAP_WEBHOOK_EVENTS= batch ",
			"TIWSNAP_WEBHOOK_ALLOW=A.example.com, b.example.com:8443 ,c.example.com:443"},
	})
	if !c.Webhook.On() || c.Webhook.URL.Reveal() != "https://hooks.example.com/K3Y?also=K3Y" ||
		!cmp.Equal(c.Webhook.Events, []string{"batch"}) {
		t.Errorf("Webhook = %+v", c.Webhook)
	}
	if out := printConfig(t, c); strings.Contains(out, "K3Y") || strings.Contains(out, "MfKQ") ||
		!strings.Contains(out, "  url: https://hooks.example.com/*** # TIWSNAP_WEBHOOK_URL\n") {
		t.Errorf("Print() shows a secret, or not the host:\n%s", out)
	}

	for url, ok := range map[string]bool{
		"https://a.example.com/x":       true,
		"https://A.example.com.:443/":   true,
		"https://b.example.com:8443/":   true,
		"https://c.example.com":         true,
		"https://b.example.com/":        false,
		"https://a.example.com:8443/":   false,
		"https://x.a.example.com/":      false,
		"https://example.com/":          false,
		"https://hooks.example.com/":    false, // a batch must not name the default receiver
		"http://a.example.com/":         false,
		"https://a.example.com@evil.co": false,
	} {
		if err := c.Webhook.Check(url); (err == nil) != ok {
			t.Errorf("Check(%s) = %v, want allowed: %t", url, err, ok)
		}
	}
}
