package config_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/config"
)

func TestCallbackSettings(t *testing.T) {
	const (
		addr = "TIWSNAP_CALLBACK_ADDR=:8081"
		url  = "TIWSNAP_CALLBACK_URL=https://snap.example.org"
		key  = "TIWSNAP_CALLBACK_KEY=S3CR3T-0123456789-0123456789-0123456789"

		notPublic = `must be https://HOST or http://HOST:PORT, with or without a path`
		notAddr   = `must be HOST:PORT, or :PORT for all addresses of this machine`
		noKey     = `TIWSNAP_CALLBACK_KEY: is missing: it signs the URLs under TIWSNAP_CALLBACK_URL; set it, or ` +
			`TIWSNAP_CALLBACK_KEY_FILE, to the output of openssl rand -hex 32, the same in all workers`
		noURL = `TIWSNAP_CALLBACK_URL: is missing: TIWSNAP_CALLBACK_ADDR listens for callbacks, but Tencent does ` +
			`not know the URL; set it to the URL at which Tencent reaches that address, or remove both`
		noAddr = `TIWSNAP_CALLBACK_ADDR: is missing: TIWSNAP_CALLBACK_URL sends callbacks here, but nothing ` +
			`listens; set it to an address such as :8081, or remove both`
		twoURLs = `TIWSNAP_TIW_CALLBACK_URL: cannot be used with TIWSNAP_CALLBACK_URL: Tencent calls only one URL; ` +
			`remove one of them`
		shortKey = `must have at least 32 characters: make one with openssl rand -hex 32`
	)
	for _, test := range []struct {
		name    string
		environ []string
		want    string
	}{
		{"address without URL", []string{addr}, noURL},
		{"URL without address", []string{url}, noAddr + "\n" + noKey},
		{"no key", []string{addr, url}, noKey},
		{"unreadable key: one error", []string{addr, url, "TIWSNAP_CALLBACK_KEY_FILE=testdata/missing"},
			`TIWSNAP_CALLBACK_KEY_FILE: "testdata/missing" cannot be read: no such file or directory`},
		{"short key", []string{addr, url, "TIWSNAP_CALLBACK_KEY=S3CR3T-0123456789-0123456789-01"},
			"TIWSNAP_CALLBACK_KEY: " + shortKey},
		{"short old key", []string{addr, url, key, "TIWSNAP_CALLBACK_KEY_OLD=S3CR3T"},
			"TIWSNAP_CALLBACK_KEY_OLD: " + shortKey},
		{"two receivers", []string{addr, url, key, "TIWSNAP_TIW_CALLBACK_URL=https://example.org/S3CR3T"}, twoURLs},
		{"receiver is not a URL", []string{"TIWSNAP_TIW_CALLBACK_URL=example.org/S3CR3T"},
			"TIWSNAP_TIW_CALLBACK_URL: must be a URL that begins with https:// or http://"},
		{"only the address is turned off",
			[]string{"TIWSNAP_CONFIG=testdata/callback.yml", "TIWSNAP_CALLBACK_ADDR="}, noAddr},
		{"no port", []string{"TIWSNAP_CALLBACK_ADDR=0.0.0.0", url, key}, `TIWSNAP_CALLBACK_ADDR: "0.0.0.0" ` + notAddr},
		{"port 0", []string{"TIWSNAP_CALLBACK_ADDR=:0", url, key},
			`TIWSNAP_CALLBACK_ADDR: ":0" ` + notAddr},
		{"port out of range", []string{"TIWSNAP_CALLBACK_ADDR=:65536", url, key},
			`TIWSNAP_CALLBACK_ADDR: ":65536" ` + notAddr},
		{"base URL with a query", []string{addr, "TIWSNAP_CALLBACK_URL=https://h/?a=b", key},
			`TIWSNAP_CALLBACK_URL: "https://h/?a=b" ` + notPublic},
		{"base URL without a scheme", []string{addr, "TIWSNAP_CALLBACK_URL=h:8081", key},
			`TIWSNAP_CALLBACK_URL: "h:8081" ` + notPublic},
		{"settings of unknown outcomes",
			[]string{"TIWSNAP_UNKNOWN=ignore", "TIWSNAP_UNKNOWN_GRACE=0s", "TIWSNAP_CONFIRM_SHARE=0"},
			`TIWSNAP_CONFIRM_SHARE: "0" must be a whole number from 1 to 100` + "\n" +
				`TIWSNAP_UNKNOWN: "ignore" must be wait or retry or hold` + "\n" +
				`TIWSNAP_UNKNOWN_GRACE: "0s" must be a duration such as 500ms, 30s, 10m or 24h, from 1s to 1h`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := config.Load(config.Source{Environ: test.environ})
			if err == nil {
				t.Fatal("Load() = nil, want an error")
			}
			if diff := cmp.Diff(test.want, err.Error()); diff != "" {
				t.Errorf("Load() error (-want +got):\n%s", diff)
			}
		})
	}

	t.Run("base URL with a path", func(t *testing.T) {
		c := load(t, config.Source{Environ: []string{addr, "TIWSNAP_CALLBACK_URL=HTTPS://h:8443/tiw%20snap/", key}}).Callback
		if c.Addr != ":8081" || c.URL != "https://h:8443/tiw%20snap" || !strings.HasPrefix(c.Key.Reveal(), "S3CR3T-") ||
			!c.KeyOld.Empty() {
			t.Errorf("Load() = %+v", c)
		}
	})

	t.Run("environment turns off the callbacks of the file", func(t *testing.T) {
		c := load(t, config.Source{File: "testdata/callback.yml", Environ: []string{
			"TIWSNAP_CALLBACK_ADDR=", "TIWSNAP_CALLBACK_URL=", "TIWSNAP_TIW_CALLBACK_URL=https://example.org/S3CR3T?a=b",
		}})
		if c.Callback.Addr != "" || c.Callback.URL != "" || c.TIW.CallbackURL.Reveal() != "https://example.org/S3CR3T?a=b" {
			t.Errorf("Load() = %+v", c)
		}
		if strings.Contains(printConfig(t, c), "S3CR3T") {
			t.Errorf("Print() shows a secret:\n%s", printConfig(t, c))
		}
	})
}

func TestCheckCallback(t *testing.T) {
	callbacks := []string{"TIWSNAP_CALLBACK_ADDR=:8081", "TIWSNAP_CALLBACK_URL=https://tiwsnap.example.com",
		"TIWSNAP_CALLBACK_KEY=0123456789abcdef0123456789abcdef"}
	webhooks := []string{hookSecret, "TIWSNAP_WEBHOOK_ALLOW=hooks.example.com,10.0.0.1,[fd00::1],127.0.0.1,10.0.0.2",
		"TIWSNAP_WEBHOOK_PRIVATE=10.0.0.2"}
	for name, environ := range map[string][]string{"no callbacks": webhooks, "no webhooks": callbacks} {
		c := load(t, config.Source{Environ: environ})
		for _, url := range []string{"https://elsewhere.example/?a=b", "http://10.0.0.1:8080/x"} {
			if err := c.CheckCallback(url); err != nil {
				t.Errorf("%s: CheckCallback(%s) = %v, want nil: Tencent calls it", name, url, err)
			}
		}
		if c.CheckCallback("ftp://elsewhere.example") == nil {
			t.Errorf("%s: CheckCallback() accepts ftp", name)
		}
	}
	c := load(t, config.Source{Environ: append(callbacks, webhooks...)})
	for url, want := range map[string]string{
		"https://hooks.example.com/cb?x":  "",
		"https://10.0.0.2/":               "",
		"https://elsewhere.example/K3Y":   `leads to "elsewhere.example", which is not in TIWSNAP_WEBHOOK_ALLOW`,
		"http://hooks.example.com/K3Y":    "must be https://: TIWSNAP_WEBHOOK_HTTP=true also allows http://",
		"https://10.0.0.1/K3Y":            "leads to a private address: TIWSNAP_WEBHOOK_PRIVATE allows it",
		"https://127.0.0.1/K3Y":           "leads to a private address: TIWSNAP_WEBHOOK_PRIVATE allows it",
		"https://[fd00::1]/K3Y":           "leads to a private address: TIWSNAP_WEBHOOK_PRIVATE allows it",
		"https://u:K3Y@hooks.example.com": "must not contain a user or a password: webhooks are signed",
	} {
		got := ""
		if err := c.CheckCallback(url); err != nil {
			got = strings.TrimSuffix(err.Error(), " (tiwsnap calls it, as Tencent calls TIWSNAP_CALLBACK_URL)")
		}
		if got != want {
			t.Errorf("CheckCallback(%s) = %q, want %q", url, got, want)
		}
	}
}
