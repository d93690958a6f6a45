package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tiwsnap/config"
)

func load(t *testing.T, src config.Source) config.Config {
	t.Helper()
	c, err := config.Load(src)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A health check must not fail on settings that the running process has not read.
func TestHTTPAddrIgnoresOtherSettings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tiwsnap.yml")
	text := "http: {addr: '127.0.0.1:1', users_file: /nowhere}\nrat: 3\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		src  config.Source
		want string
	}{
		{config.Source{}, config.DefaultHTTPAddr},
		{config.Source{File: file}, "127.0.0.1:1"},
		{config.Source{File: file, Environ: []string{"TIWSNAP_HTTP_ADDR=:2", "TIWSNAP_RATE_LIMIT=none"}}, ":2"},
		{config.Source{File: file, Environ: []string{"TIWSNAP_HTTP_ADDR="}}, ""},
	} {
		if got, err := config.HTTPAddr(test.src); got != test.want || err != nil {
			t.Errorf("HTTPAddr(%v) = %q, %v, want %q", test.src, got, err, test.want)
		}
	}
	got, err := config.HTTPAddr(config.Source{Environ: []string{"TIWSNAP_HTTP_ADDR=here"}})
	if err == nil || !strings.Contains(err.Error(), "TIWSNAP_HTTP_ADDR") {
		t.Errorf("HTTPAddr() of a wrong address = %q, %v", got, err)
	}
}

func TestRegionWarning(t *testing.T) {
	for _, test := range []struct {
		endpoint, region string
		warning          bool
	}{
		{config.ChinaEndpoint, "ap-singapore", false}, // the default
		{config.ChinaEndpoint, "ap-guangzhou", false},
		{config.IntlEndpoint, "ap-singapore", false},
		{config.IntlEndpoint, "ap-guangzhou", true},
		{"https://TIW.intl.tencentcloudapi.com:443", "ap-guangzhou", true},
		{"http://127.0.0.1:9090", "ap-guangzhou", false},
	} {
		c := load(t, config.Source{Environ: []string{
			"TIWSNAP_TIW_ENDPOINT=" + test.endpoint, "TIWSNAP_TIW_REGION=" + test.region,
		}})
		why, fix := c.RegionWarning()
		if (why != "") != test.warning || (fix != "") != test.warning ||
			!strings.Contains(why, test.endpoint) && test.warning {
			t.Errorf("RegionWarning() of %s and %s = %q, %q", test.endpoint, test.region, why, fix)
		}
	}
}
