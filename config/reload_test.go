package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/config"
)

func TestChanged(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	key := file("key", "K3Y")
	const list = "schedules:\n- {name: a, cron: '0 1 * * *', rooms: {list: [{SdkAppId: 7, RoomId: 1}]}}\n"
	src := config.Source{
		Environ: []string{"TENCENTCLOUD_SECRET_ID=id", "TENCENTCLOUD_SECRET_KEY_FILE=" + key},
		File:    file("a.yml", "log: {level: warn}\n"+list),
	}
	before := load(t, src)
	if got := config.Changed(before, load(t, src)); got != nil {
		t.Errorf("nothing has changed but %v", got)
	}
	file("a.yml", "# moved down\n\nlog: {level: warn}\n"+list)
	if got := config.Changed(before, load(t, src)); got != nil {
		t.Errorf("a comment has changed %v", got)
	}
	file("key", "N3W")
	file("a.yml", "log: {level: debug}\nrate: {limit: 19}\n"+strings.Replace(list, "0 1 *", "0 2 *", 1))
	want := []string{"tencentcloud.secret_key", "rate.limit", "log.level", "schedules"}
	if diff := cmp.Diff(want, config.Changed(before, load(t, src))); diff != "" {
		t.Error(diff)
	}
}

// A health check must not fail on settings that the running process has not read.
func TestHTTPAddrAlone(t *testing.T) {
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
			t.Errorf("%v: got %q, %v", test.src, got, err)
		}
	}
	got, err := config.HTTPAddr(config.Source{Environ: []string{"TIWSNAP_HTTP_ADDR=here"}})
	if err == nil || !strings.Contains(err.Error(), "TIWSNAP_HTTP_ADDR") {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestRegionWarning(t *testing.T) {
	for _, test := range []struct {
		endpoint, region string
		warns            bool
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
		if (why != "") != test.warns || (fix != "") != test.warns || !strings.Contains(why, test.endpoint) && test.warns {
			t.Errorf("%s and %s: got %q, %q", test.endpoint, test.region, why, fix)
		}
	}
}
