package config_test

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"tiwsnap/config"
)

func printConfig(t *testing.T, c config.Config) string {
	t.Helper()
	var b bytes.Buffer
	if err := c.Print(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestPrint(t *testing.T) {
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	config.AllFlags(flags)
	if err := flags.Parse([]string{"--redis-url", "redis://user:S3CR3T@db", "--namespace", "null"}); err != nil {
		t.Fatal(err)
	}
	c := load(t, config.Source{
		File: "testdata/good.yml",
		Environ: []string{"TENCENTCLOUD_SECRET_ID=S3CR3T", "TENCENTCLOUD_SECRET_KEY_FILE=testdata/secret",
			"TIWSNAP_TIW_TIMEOUT=2s"},
		Flags: flags,
	})
	want := `namespace: null # --namespace
redis:
  url: redis://user:***@db # --redis-url
  durability: local # default
  tls:
    ca: # not set
    cert: # not set
    key: # not set
    server_name: # not set
tencentcloud:
  secret_id: '***' # TENCENTCLOUD_SECRET_ID
  secret_key: '***' # TENCENTCLOUD_SECRET_KEY_FILE
  token: # not set
tiw:
  endpoint: https://tiw.tencentcloudapi.com # default
  region: ap-singapore # default
  timeout: 2s # TIWSNAP_TIW_TIMEOUT
  callback_url: # not set
rate:
  limit: 10 # testdata/good.yml:3: rate.limit
  margin: 15ms # default
worker:
  concurrency: 5 # testdata/good.yml:5: worker.concurrency
  attempts: 8 # default
  spool: # not set
confirm:
  after: 30s # default
  share: 100 # default
callback:
  addr: # not set
  url: # not set
  key: # not set
  key_old: # not set
http:
  addr: 127.0.0.1:8080 # default
  hosts: # not set
  proxies: # not set
  session_key: # not set
  users: # not set
  tokens: # not set
metrics:
  addr: # not set
suspend_for: 24h # default
unknown: wait # default
unknown_grace: 2m # default
retention: 168h # default
images:
  store: # not set
  access_key_id: # not set
  secret_access_key: # not set
  private: # not set
  copy: tencent # default
  rate: 200,100MB # default
  keep: # not set
log:
  level: info # default
  format: text # default
webhook:
  url: # not set
  secret: # not set
  secret_old: # not set
  events: snapshot,batch,images,schedule # default
  allow: # not set
  private: # not set
  http: false # default
schedules: [] # not set
`
	if diff := cmp.Diff(want, printConfig(t, c)); diff != "" {
		t.Errorf("Print() (-want +got):\n%s", diff)
	}

	t.Run("output is a configuration file", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "printed.yml")
		text := regexp.MustCompile(`(?m)^.*\*\*\*.*\n`).ReplaceAllString(want, "")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		again := load(t, config.Source{File: file})
		if again.TIW != c.TIW || again.Worker != c.Worker || again.Rate != c.Rate {
			t.Errorf("Load() of the output = %+v, want %+v", again, c)
		}
	})
}

// The table and the Config type must have the same settings, and the example
// file must show each of them at its default.
func TestTableMatchesTypeAndExample(t *testing.T) {
	defaults := printConfig(t, load(t, config.Source{}))
	keys := func(text string) (all []string) {
		var blocks map[string]any
		if err := yaml.Unmarshal([]byte(text), &blocks); err != nil {
			t.Fatal(err)
		}
		for name, v := range blocks {
			block, _ := v.(map[string]any)
			for sub := range block {
				all = append(all, name+"."+sub)
			}
			if block == nil {
				all = append(all, name)
			}
		}
		slices.Sort(all)
		return all
	}

	var fields []string
	for f := range reflect.TypeFor[config.Config]().Fields() {
		switch name := f.Tag.Get("koanf"); {
		case !f.IsExported():
		case f.Type.Kind() == reflect.Struct:
			for sub := range f.Type.Fields() {
				fields = append(fields, name+"."+sub.Tag.Get("koanf"))
			}
		default:
			fields = append(fields, name)
		}
	}
	slices.Sort(fields)
	if diff := cmp.Diff(fields, keys(defaults)); diff != "" {
		t.Errorf("fields of Config and settings of the table differ (-fields +settings):\n%s", diff)
	}

	const example = "../examples/tiwsnap.yml"
	origins := regexp.MustCompile(`(?m) #.*$`)
	c := printConfig(t, load(t, config.Source{File: example}))
	if diff := cmp.Diff(origins.ReplaceAllString(defaults, ""), origins.ReplaceAllString(c, "")); diff != "" {
		t.Errorf("%s differs from the defaults:\n%s", example, diff)
	}
	if strings.Contains(c, "# default") {
		t.Errorf("%s lacks a setting:\n%s", example, c)
	}
}
