package config_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"tiwsnap/config"
)

const escapes = " (in a password, write @ : / ? # % as %40 %3A %2F %3F %23 %25)"

func TestEveryFlawOfAFile(t *testing.T) {
	wants := map[string]string{
		"bad-syntax.yml":          `YML: is not YAML: line 1: did not find expected ',' or ']'`,
		"bad-not-text.yml":        `YML: is not YAML: incomplete UTF-16 character`,
		"bad-list.yml":            `YML:1: must be a block of NAME: VALUE lines`,
		"bad-value-for-block.yml": `YML:1: rate: must be a block of NAME: VALUE lines`,
		"bad-list-for-value.yml":  `YML:2: rate.limit: must be a single value, not a block or a list`,
		"bad-unknown-key.yml":     `YML:2: worker.concurency: is not a setting: did you mean worker.concurrency?`,
		"bad-unknown-block.yml":   `YML:1: workers: is not a setting: did you mean worker?`,
		"bad-unknown-far.yml":     `YML:1: kitchen-sink: is not a setting: "tiwsnap config print" lists them`,
		"bad-block-twice.yml":     `YML:2: rate: is already on line 1: remove one of them`,
		"bad-key-twice.yml":       `YML:3: rate.limit: is already on line 2: remove one of them`,
		"bad-two-documents.yml":   `YML: has more than one document`,
		"bad-second-document.yml": `YML: is not YAML: line 3: did not find expected node content`,
		"bad-no-unit.yml": `YML:2: tiw.timeout: "10" must be a duration such as 500ms, 30s, 10m or 24h, ` +
			`from 100ms to 1m`,
		"bad-timeout.yml": `YML:2: tiw.timeout: "61s" must be a duration such as 500ms, 30s, 10m or ` +
			`24h, from 100ms to 1m`,
		"bad-empty-value.yml": `YML:2: rate.limit: "" must be a whole number from 1 to 10000`,
		"bad-number.yml":      `YML:2: rate.limit: "2e1" must be a whole number from 1 to 10000`,
		"bad-rate.yml":        `YML:2: rate.limit: "10001" must be a whole number from 1 to 10000`,
		"bad-attempts.yml":    `YML:2: worker.attempts: "0" must be a whole number from 1 to 100`,
		"bad-redis-url.yml": `YML:2: redis.url: "redis://user:***@host:port" is not a Redis URL: the port ` +
			`is not a number` + escapes,
		"bad-endpoint.yml": `YML:2: tiw.endpoint: "tiw.tencentcloudapi.com" must be https://HOST or ` +
			`http://HOST:PORT, without a path`,
		"bad-region.yml":    `YML:2: tiw.region: "Singapore" must be a region such as ap-singapore`,
		"bad-namespace.yml": `YML:1: namespace: "Main account" must be 1 to 32 of a-z, 0-9 and -`,
		"bad-tiw-account.yml": `YML:2: tiw.account: was removed: set TIWSNAP_NAMESPACE instead (YAML: ` +
			`namespace), to a name of its own for each account on this Redis`,
		"bad-log-level.yml":  `YML:2: log.level: "verbose" must be debug, info, warn or error`,
		"bad-log-format.yml": `YML:2: log.format: "logfmt" must be text or json`,
		"bad-half-a-key.yml": `TENCENTCLOUD_SECRET_KEY: is missing: set it, or ` +
			`TENCENTCLOUD_SECRET_KEY_FILE, as on https://console.tencentcloud.com/cam/capi`,
		"bad-secret-with-space.yml": `YML:3: tencentcloud.secret_key: must not contain a space or a line break`,
		"bad-secret-masked.yml": `YML:3: tencentcloud.secret_key: is the placeholder that config print shows: ` +
			`give the secret itself`,
		"bad-secret-and-file.yml": `YML:4: tencentcloud.secret_key_file: YML:3: tencentcloud.secret_key is the ` +
			`same setting: remove one of them`,
		"bad-secret-file-missing.yml": `YML:3: tencentcloud.secret_key_file: "testdata/missing" cannot be read: no ` +
			`such file or directory`,
		"bad-secret-file-empty.yml": `YML:3: tencentcloud.secret_key_file: "testdata/empty.yml" is empty: it must ` +
			`contain the secret`,
	}
	files, err := filepath.Glob("testdata/bad-*.yml")
	if err != nil || len(files) != len(wants) {
		t.Errorf("there are %d files for %d tests, %v", len(files), len(wants), err)
	}
	for name, want := range wants {
		t.Run(name, func(t *testing.T) {
			file := "testdata/" + name
			_, err := config.Load(config.Source{File: file})
			if err == nil {
				t.Fatal("it was accepted")
			}
			if diff := cmp.Diff(strings.ReplaceAll(want, "YML", file), err.Error()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEveryFlawOfTheEnvironment(t *testing.T) {
	for _, test := range []struct {
		environ []string
		want    string
	}{
		{[]string{"TIWSNAP_REDIS_ULR=redis://h"}, `TIWSNAP_REDIS_ULR: is not a setting: did you mean TIWSNAP_REDIS_URL?`},
		{[]string{"TIWSNAP_FLAVOUR="}, `TIWSNAP_FLAVOUR: is not a setting: "tiwsnap config print" lists them`},
		{[]string{"TIWSNAP_TIW_ACCOUNT=two"},
			`TIWSNAP_TIW_ACCOUNT: was removed: set TIWSNAP_NAMESPACE instead (YAML: namespace), to a name of its own for ` +
				`each account on this Redis`},
		{[]string{"TIWSNAP_NAMESPACE=a_b"}, `TIWSNAP_NAMESPACE: "a_b" must be 1 to 32 of a-z, 0-9 and -`},
		{[]string{"TIWSNAP_NAMESPACE=" + strings.Repeat("a", 33)},
			`TIWSNAP_NAMESPACE: "` + strings.Repeat("a", 33) + `" must be 1 to 32 of a-z, 0-9 and -`},
		{[]string{"TIWSNAP_RATE_LIMIT=fast"}, `TIWSNAP_RATE_LIMIT: "fast" must be a whole number from 1 to 10000`},
		{[]string{"TIWSNAP_RATE_LIMIT=" + strings.Repeat("9", 100)},
			`TIWSNAP_RATE_LIMIT: "` + strings.Repeat("9", 80) + `…" must be a whole number from 1 to 10000`},
		{[]string{"TIWSNAP_REDIS_URL=redis://:S3CR3T/@h"},
			`TIWSNAP_REDIS_URL: "redis://:***@h" is not a Redis URL: there is an @ after the host` + escapes},
		{[]string{"TIWSNAP_CONFIG=testdata/missing.yml"},
			`TIWSNAP_CONFIG: "testdata/missing.yml" cannot be read: no such file or directory`},
		{[]string{"TENCENTCLOUD_SECRET_ID=id", "TENCENTCLOUD_SECRET_KEY=S3CR3T\n"},
			`TENCENTCLOUD_SECRET_KEY: must not contain a space or a line break`},
		{[]string{"TENCENTCLOUD_SECRET_ID=id", "TENCENTCLOUD_SECRET_KEY=S3CR3T",
			"TENCENTCLOUD_SECRET_KEY_FILE=testdata/secret"},
			`TENCENTCLOUD_SECRET_KEY_FILE: TENCENTCLOUD_SECRET_KEY is the same setting: remove one of them`},
		{[]string{"TENCENTCLOUD_SECRET_ID=id", "TENCENTCLOUD_SECRET_KEY_FILE=testdata"},
			`TENCENTCLOUD_SECRET_KEY_FILE: "testdata" cannot be read: is a directory`},
		{[]string{"TIWSNAP_REDIS_DURABILITY=both"}, `TIWSNAP_REDIS_DURABILITY: "both" must be local or replicated`},
		{[]string{"TIWSNAP_REDIS_DURABILITY=replicated", "TIWSNAP_REDIS_URL=embedded"},
			"TIWSNAP_REDIS_DURABILITY: replicated needs a Redis with replicas, but TIWSNAP_REDIS_URL is embedded"},
		{[]string{"TIWSNAP_REDIS_URL=rediss://h", "TIWSNAP_REDIS_TLS_CA=testdata/none.pem"},
			"TIWSNAP_REDIS_TLS_CA: open testdata/none.pem: no such file or directory"},
		{[]string{"TIWSNAP_REDIS_URL=rediss://h", "TIWSNAP_REDIS_TLS_CERT=testdata/good.yml"},
			"TIWSNAP_REDIS_TLS_KEY: is missing: a client certificate needs both a certificate and a key"},
		{[]string{"TIWSNAP_REDIS_TLS_SERVER_NAME=redis.example"}, "TIWSNAP_REDIS_TLS_…: needs TLS: TIWSNAP_REDIS_URL must " +
			"begin with rediss:// (or rediss+sentinel://, rediss+cluster://), or remove these settings"},
		{[]string{"TIWSNAP_IMAGES_KEEP=72h"}, "TIWSNAP_IMAGES_KEEP: 72h is less than TIWSNAP_RETENTION, 168h, during which " +
			"result lists link to the copies: set it to that or more"},
		{[]string{"TENCENTCLOUD_TOKEN=S3CR3T"},
			"TENCENTCLOUD_SECRET_ID: is missing: set it, or TENCENTCLOUD_SECRET_ID_FILE, as on " +
				"https://console.tencentcloud.com/cam/capi\n" +
				"TENCENTCLOUD_SECRET_KEY: is missing: set it, or TENCENTCLOUD_SECRET_KEY_FILE, as on " +
				"https://console.tencentcloud.com/cam/capi"},
	} {
		t.Run(strings.Join(test.environ, " "), func(t *testing.T) {
			_, err := config.Load(config.Source{Environ: test.environ})
			if err == nil {
				t.Fatal("it was accepted")
			}
			if diff := cmp.Diff(test.want, err.Error()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

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
		{"an address alone", []string{addr}, noURL},
		{"a URL alone", []string{url}, noAddr + "\n" + noKey},
		{"no key", []string{addr, url}, noKey},
		{"a key that cannot be read is one fault, not two", []string{addr, url, "TIWSNAP_CALLBACK_KEY_FILE=testdata/missing"},
			`TIWSNAP_CALLBACK_KEY_FILE: "testdata/missing" cannot be read: no such file or directory`},
		{"a short key", []string{addr, url, "TIWSNAP_CALLBACK_KEY=S3CR3T-0123456789-0123456789-01"},
			"TIWSNAP_CALLBACK_KEY: " + shortKey},
		{"a short second key", []string{addr, url, key, "TIWSNAP_CALLBACK_KEY_OLD=S3CR3T"},
			"TIWSNAP_CALLBACK_KEY_OLD: " + shortKey},
		{"two receivers", []string{addr, url, key, "TIWSNAP_TIW_CALLBACK_URL=https://example.org/S3CR3T"}, twoURLs},
		{"a receiver that is no URL", []string{"TIWSNAP_TIW_CALLBACK_URL=example.org/S3CR3T"},
			"TIWSNAP_TIW_CALLBACK_URL: must be a URL that begins with https:// or http://"},
		{"turned off by half", []string{"TIWSNAP_CONFIG=testdata/callback.yml", "TIWSNAP_CALLBACK_ADDR="}, noAddr},
		{"no port", []string{"TIWSNAP_CALLBACK_ADDR=0.0.0.0", url, key}, `TIWSNAP_CALLBACK_ADDR: "0.0.0.0" ` + notAddr},
		{"port 0, which nobody can know", []string{"TIWSNAP_CALLBACK_ADDR=:0", url, key},
			`TIWSNAP_CALLBACK_ADDR: ":0" ` + notAddr},
		{"a port that is none", []string{"TIWSNAP_CALLBACK_ADDR=:65536", url, key},
			`TIWSNAP_CALLBACK_ADDR: ":65536" ` + notAddr},
		{"a base with a query", []string{addr, "TIWSNAP_CALLBACK_URL=https://h/?a=b", key},
			`TIWSNAP_CALLBACK_URL: "https://h/?a=b" ` + notPublic},
		{"a base without a scheme", []string{addr, "TIWSNAP_CALLBACK_URL=h:8081", key},
			`TIWSNAP_CALLBACK_URL: "h:8081" ` + notPublic},
		{"what follows an unknown outcome",
			[]string{"TIWSNAP_UNKNOWN=ignore", "TIWSNAP_UNKNOWN_GRACE=0s", "TIWSNAP_CONFIRM_SHARE=0"},
			`TIWSNAP_CONFIRM_SHARE: "0" must be a whole number from 1 to 100` + "\n" +
				`TIWSNAP_UNKNOWN: "ignore" must be wait or retry or hold` + "\n" +
				`TIWSNAP_UNKNOWN_GRACE: "0s" must be a duration such as 500ms, 30s, 10m or 24h, from 1s to 1h`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := config.Load(config.Source{Environ: test.environ})
			if err == nil {
				t.Fatal("it was accepted")
			}
			if diff := cmp.Diff(test.want, err.Error()); diff != "" {
				t.Error(diff)
			}
		})
	}

	t.Run("on, below a path", func(t *testing.T) {
		c := load(t, config.Source{Environ: []string{addr, "TIWSNAP_CALLBACK_URL=HTTPS://h:8443/tiw%20snap/", key}}).Callback
		if c.Addr != ":8081" || c.URL != "https://h:8443/tiw%20snap" || !strings.HasPrefix(c.Key.Reveal(), "S3CR3T-") ||
			!c.KeyOld.Empty() {
			t.Errorf("got %+v", c)
		}
	})

	t.Run("the file has them on and the environment off", func(t *testing.T) {
		c := load(t, config.Source{File: "testdata/callback.yml", Environ: []string{
			"TIWSNAP_CALLBACK_ADDR=", "TIWSNAP_CALLBACK_URL=", "TIWSNAP_TIW_CALLBACK_URL=https://example.org/S3CR3T?a=b",
		}})
		if c.Callback.Addr != "" || c.Callback.URL != "" || c.TIW.CallbackURL.Reveal() != "https://example.org/S3CR3T?a=b" {
			t.Errorf("got %+v", c)
		}
		if strings.Contains(printed(t, c), "S3CR3T") {
			t.Errorf("it shows a secret:\n%s", printed(t, c))
		}
	})
}

func TestAllFaultsOfAllLayersAtOnce(t *testing.T) {
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	config.AllFlags(flags)
	if err := flags.Parse([]string{"--concurrency=0", "--log-format="}); err != nil {
		t.Fatal(err)
	}
	_, err := config.Load(config.Source{
		File:    "testdata/many-flaws.yml",
		Environ: []string{"TIWSNAP_CONFIRM_AFTER=soon", "TIWSNAP_TIW_REGOIN=ap-singapore"},
		Flags:   flags,
	}, config.Credentials)
	if err == nil {
		t.Fatal("it was accepted")
	}
	want := strings.Join([]string{
		`testdata/many-flaws.yml:4: tiw.endpont: is not a setting: did you mean tiw.endpoint?`,
		`testdata/many-flaws.yml:2: redis.url: "redis//127.0.0.1" is not a Redis URL: it must be embedded, or begin ` +
			`with redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://`,
		`testdata/many-flaws.yml:5: tiw.timeout: "1h" must be a duration such as 500ms, 30s, 10m or 24h, from 100ms to 1m`,
		`testdata/many-flaws.yml:7: rate.limit: "twenty" must be a whole number from 1 to 10000`,
		`testdata/many-flaws.yml:9: worker.attempts: "1000" must be a whole number from 1 to 100`,
		`testdata/many-flaws.yml:10: retention: "forever" must be a duration such as 500ms, 30s, 10m or 24h, ` +
			`from 1m to 8760h`,
		`TIWSNAP_TIW_REGOIN: is not a setting: did you mean TIWSNAP_TIW_REGION?`,
		`TIWSNAP_CONFIRM_AFTER: "soon" must be a duration such as 500ms, 30s, 10m or 24h, from 100ms to 1h`,
		`--concurrency: "0" must be a whole number from 1 to 1000`,
		`--log-format: "" must be text or json`,
		`TENCENTCLOUD_SECRET_ID: is missing: set it, or TENCENTCLOUD_SECRET_ID_FILE, as on ` +
			`https://console.tencentcloud.com/cam/capi`,
		`TENCENTCLOUD_SECRET_KEY: is missing: set it, or TENCENTCLOUD_SECRET_KEY_FILE, as on ` +
			`https://console.tencentcloud.com/cam/capi`,
	}, "\n")
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Error(diff)
	}
}

func TestLayers(t *testing.T) {
	t.Run("nothing is set: the documented defaults", func(t *testing.T) {
		for _, file := range []string{"", "testdata/empty.yml", "testdata/only-comments.yml"} {
			c := load(t, config.Source{File: file})
			if got := c.Redis.URL.Reveal(); got != "redis://127.0.0.1:6379/0" {
				t.Errorf("redis is at %s", got)
			}
			if want := (config.TIW{Endpoint: "https://tiw.tencentcloudapi.com", Region: "ap-singapore",
				Timeout: 10 * time.Second}); c.TIW != want {
				t.Errorf("TIW is %+v", c.TIW)
			}
			if c.Rate.Limit != 20 || c.Worker != (config.Worker{Concurrency: 256, Attempts: 8}) ||
				c.Confirm != (config.Confirm{After: 30 * time.Second, Share: 100}) || c.Retention != 168*time.Hour {
				t.Errorf("got %+v", c)
			}
			if c.Callback != (config.Callback{}) || c.Unknown != "wait" || c.UnknownGrace != 2*time.Minute {
				t.Errorf("got %+v", c)
			}
			if c.Log != (config.Log{Level: slog.LevelInfo, Format: "text"}) || !c.TencentCloud.SecretID.Empty() {
				t.Errorf("got %+v", c)
			}
		}
	})

	t.Run("flags win over the environment, and that over the file", func(t *testing.T) {
		flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
		config.Flags(flags, "worker.concurrency", "rate.limit", "redis.url")
		if err := flags.Parse([]string{"--concurrency", "7"}); err != nil {
			t.Fatal(err)
		}
		c := load(t, config.Source{
			Environ: []string{"TIWSNAP_CONFIG=testdata/good.yml", "TIWSNAP_WORKER_CONCURRENCY=6", "TIWSNAP_RATE_LIMIT=15"},
			Flags:   flags,
		})
		if c.Worker.Concurrency != 7 || c.Rate.Limit != 15 || c.Redis.URL.Reveal() != "redis://db:6379/1" {
			t.Errorf("got %+v", c)
		}
	})

	t.Run("--config wins over TIWSNAP_CONFIG", func(t *testing.T) {
		c := load(t, config.Source{File: "testdata/good.yml", Environ: []string{"TIWSNAP_CONFIG=testdata/missing.yml"}})
		if c.Rate.Limit != 10 {
			t.Errorf("got %+v", c)
		}
	})

	t.Run("a flag of the same name that is none of ours is not read", func(t *testing.T) {
		flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
		flags.String("rate", "", "another rate")
		if err := flags.Parse([]string{"--rate", "fast"}); err != nil {
			t.Fatal(err)
		}
		if c := load(t, config.Source{Flags: flags}); c.Rate.Limit != 20 {
			t.Errorf("got %+v", c)
		}
	})

	t.Run("an empty block and an empty variable set nothing", func(t *testing.T) {
		c := load(t, config.Source{
			File:    "testdata/empty-block.yml",
			Environ: []string{"TIWSNAP_RATE_LIMIT=", "TENCENTCLOUD_TOKEN=", "TENCENTCLOUD_SECRET_ID_FILE="},
		})
		if c.Redis.URL.Reveal() != "redis://127.0.0.1:6379/0" || c.Retention != 24*time.Hour || c.Rate.Limit != 20 {
			t.Errorf("got %+v", c)
		}
	})

	t.Run("a secret comes from a file, without the newline at its end", func(t *testing.T) {
		c := load(t, config.Source{
			Environ: []string{"TENCENTCLOUD_SECRET_ID=id", "TENCENTCLOUD_SECRET_KEY_FILE=testdata/secret"},
		})
		if got := c.TencentCloud.SecretKey.Reveal(); got != "S3CR3T" {
			t.Errorf("got %q", got)
		}
	})

	t.Run("variables that are not ours to judge", func(t *testing.T) {
		load(t, config.Source{Environ: []string{
			"PATH=/bin", "TENCENTCLOUD_REGION=ap-guangzhou", "TIWSNAP_TEST_REQUIRE=1",
			"TIWSNAP_SIMULATOR_CALLBACK_KEY=x", "TIWSNAP_CONFIG=",
			// Kubernetes sets these for the Services tiwsnap and tiwsnap-redis.
			"TIWSNAP_SERVICE_HOST=10.0.0.1", "TIWSNAP_SERVICE_PORT=80", "TIWSNAP_SERVICE_PORT_HTTP=80",
			"TIWSNAP_PORT=tcp://10.0.0.1:80",
			"TIWSNAP_REDIS_SERVICE_HOST=10.0.0.2", "TIWSNAP_REDIS_PORT=tcp://10.0.0.2:6379",
			"TIWSNAP_REDIS_PORT_6379_TCP=tcp://10.0.0.2:6379",
			"TIWSNAP_REDIS_PORT_6379_TCP_ADDR=10.0.0.2",
		}})
	})
}

func load(t *testing.T, src config.Source) config.Config {
	t.Helper()
	c, err := config.Load(src)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func printed(t *testing.T, c config.Config) string {
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
	if diff := cmp.Diff(want, printed(t, c)); diff != "" {
		t.Error(diff)
	}

	t.Run("and what it prints is a configuration file", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "printed.yml")
		text := regexp.MustCompile(`(?m)^.*\*\*\*.*\n`).ReplaceAllString(want, "")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		again := load(t, config.Source{File: file})
		if again.TIW != c.TIW || again.Worker != c.Worker || again.Rate != c.Rate {
			t.Errorf("got %+v, want %+v", again, c)
		}
	})
}

// The table and the Config type must have the same settings, and the example
// file must show each of them at its default.
func TestTableTypeAndExampleAgree(t *testing.T) {
	defaults := printed(t, load(t, config.Source{}))
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
		t.Errorf("Config has other fields than the table has settings:\n%s", diff)
	}

	const example = "../examples/tiwsnap.yml"
	origins := regexp.MustCompile(`(?m) #.*$`)
	c := printed(t, load(t, config.Source{File: example}))
	if diff := cmp.Diff(origins.ReplaceAllString(defaults, ""), origins.ReplaceAllString(c, "")); diff != "" {
		t.Errorf("%s differs from the defaults:\n%s", example, diff)
	}
	if strings.Contains(c, "# default") {
		t.Errorf("%s lacks a setting:\n%s", example, c)
	}
}

func TestSecretIsNeverPrinted(t *testing.T) {
	const text = "S3CR3T"
	s := config.NewSecret(text)
	if s.Reveal() != text {
		t.Fatalf("it reveals %q", s.Reveal())
	}
	if (config.Secret{}).Reveal() != "" || !(config.Secret{}).Empty() || s.Empty() {
		t.Error("the zero value is not the empty secret")
	}
	values := map[string]any{
		"itself":              s,
		"a pointer":           &s,
		"an exported field":   struct{ Key config.Secret }{s},
		"an unexported field": struct{ key config.Secret }{s},
		"a slice":             []config.Secret{s},
		"a map":               map[string]config.Secret{"key": s},
		"an error":            fmt.Errorf("the key %v is refused", s),
		"the configuration": load(t, config.Source{
			Environ: []string{"TENCENTCLOUD_SECRET_ID=" + text, "TENCENTCLOUD_SECRET_KEY=" + text,
				"TIWSNAP_REDIS_URL=redis://u:" + text + "@h"},
		}),
	}
	for name, v := range values {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t"} {
				fmt.Fprintf(&out, verb+"\n", v)
			}
			slog.New(slog.NewTextHandler(&out, nil)).Info("text", "v", v)
			slog.New(slog.NewJSONHandler(&out, nil)).Info("json", "v", v)
			if err := json.NewEncoder(&out).Encode(v); err != nil {
				t.Error(err)
			}
			if err := yaml.NewEncoder(&out).Encode(v); err != nil {
				t.Error(err)
			}
			hex := fmt.Sprintf("%x", text)
			if got := out.String(); strings.Contains(got, text) || strings.Contains(strings.ToLower(got), hex) {
				t.Errorf("it shows:\n%s", got)
			}
		})
	}
}

func FuzzLoad(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.yml")
	for _, name := range append(files, "../examples/tiwsnap.yml") {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("a: &a {redis: *a}\nredis: *a\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		file := filepath.Join(t.TempDir(), "fuzz.yml")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(config.Source{File: file})
		if err == nil {
			printed(t, c) // Load and Print must not panic
		}
	})
}
