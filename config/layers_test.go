package config_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"tiwsnap/config"
)

func TestFileErrors(t *testing.T) {
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
		t.Errorf("testdata has %d bad-*.yml files, want %d (%v)", len(files), len(wants), err)
	}
	for name, want := range wants {
		t.Run(name, func(t *testing.T) {
			file := "testdata/" + name
			_, err := config.Load(config.Source{File: file})
			if err == nil {
				t.Fatal("Load() = nil, want an error")
			}
			if diff := cmp.Diff(strings.ReplaceAll(want, "YML", file), err.Error()); diff != "" {
				t.Errorf("Load() error (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEnvironmentErrors(t *testing.T) {
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
				t.Fatal("Load() = nil, want an error")
			}
			if diff := cmp.Diff(test.want, err.Error()); diff != "" {
				t.Errorf("Load() error (-want +got):\n%s", diff)
			}
		})
	}
}

func TestErrorsOfAllLayers(t *testing.T) {
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
		t.Fatal("Load() = nil, want an error")
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
		t.Errorf("Load() error (-want +got):\n%s", diff)
	}
}

func TestPrecedence(t *testing.T) {
	t.Run("documented defaults", func(t *testing.T) {
		for _, file := range []string{"", "testdata/empty.yml", "testdata/only-comments.yml"} {
			c := load(t, config.Source{File: file})
			if got := c.Redis.URL.Reveal(); got != "redis://127.0.0.1:6379/0" {
				t.Errorf("Redis.URL = %s, want the default", got)
			}
			if want := (config.TIW{Endpoint: "https://tiw.tencentcloudapi.com", Region: "ap-singapore",
				Timeout: 10 * time.Second}); c.TIW != want {
				t.Errorf("TIW = %+v, want %+v", c.TIW, want)
			}
			if c.Rate.Limit != 20 || c.Worker != (config.Worker{Concurrency: 256, Attempts: 8}) ||
				c.Confirm != (config.Confirm{After: 30 * time.Second, Share: 100}) || c.Retention != 168*time.Hour {
				t.Errorf("Load() = %+v", c)
			}
			if c.Callback != (config.Callback{}) || c.Unknown != "wait" || c.UnknownGrace != 2*time.Minute {
				t.Errorf("Load() = %+v", c)
			}
			if c.Log != (config.Log{Level: slog.LevelInfo, Format: "text"}) || !c.TencentCloud.SecretID.Empty() {
				t.Errorf("Load() = %+v", c)
			}
		}
	})

	t.Run("flag over environment over file", func(t *testing.T) {
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
			t.Errorf("Load() = %+v", c)
		}
	})

	t.Run("--config over TIWSNAP_CONFIG", func(t *testing.T) {
		c := load(t, config.Source{File: "testdata/good.yml", Environ: []string{"TIWSNAP_CONFIG=testdata/missing.yml"}})
		if c.Rate.Limit != 10 {
			t.Errorf("Load() = %+v", c)
		}
	})

	t.Run("flag of another program with the same name", func(t *testing.T) {
		flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
		flags.String("rate", "", "another rate")
		if err := flags.Parse([]string{"--rate", "fast"}); err != nil {
			t.Fatal(err)
		}
		if c := load(t, config.Source{Flags: flags}); c.Rate.Limit != 20 {
			t.Errorf("Load() = %+v", c)
		}
	})

	t.Run("empty block and empty variables set nothing", func(t *testing.T) {
		c := load(t, config.Source{
			File:    "testdata/empty-block.yml",
			Environ: []string{"TIWSNAP_RATE_LIMIT=", "TENCENTCLOUD_TOKEN=", "TENCENTCLOUD_SECRET_ID_FILE="},
		})
		if c.Redis.URL.Reveal() != "redis://127.0.0.1:6379/0" || c.Retention != 24*time.Hour || c.Rate.Limit != 20 {
			t.Errorf("Load() = %+v", c)
		}
	})

	t.Run("secret from a file, without the final newline", func(t *testing.T) {
		c := load(t, config.Source{
			Environ: []string{"TENCENTCLOUD_SECRET_ID=id", "TENCENTCLOUD_SECRET_KEY_FILE=testdata/secret"},
		})
		if got := c.TencentCloud.SecretKey.Reveal(); got != "S3CR3T" {
			t.Errorf("SecretKey = %q, want S3CR3T", got)
		}
	})

	t.Run("variables that are not settings", func(t *testing.T) {
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
			printConfig(t, c) // Load and Print must not panic
		}
	})
}

const escapes = " (in a password, write @ : / ? # % as %40 %3A %2F %3F %23 %25)"
