package cli

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/config"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
)

// tiwsnap runs a command line with environ as its whole environment.
func tiwsnap(t *testing.T, environ []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, env{strings.NewReader(""), &out, &errs, func() []string { return environ }})
	return out.String(), errs.String(), code
}

func TestConfigCheck(t *testing.T) {
	t.Run("nothing is wrong", func(t *testing.T) {
		out, errs, code := tiwsnap(t, []string{"TENCENTCLOUD_SECRET_ID=id", "TENCENTCLOUD_SECRET_KEY=key"}, "config", "check")
		if out != "ok\n" || errs != "" || code != exitOK {
			t.Errorf("got %q, %q, exit %d", out, errs, code)
		}
	})

	t.Run("nothing is wrong, but a worker would need credentials", func(t *testing.T) {
		out, errs, code := tiwsnap(t, nil, "config", "check")
		if out != "ok\n" || !strings.Contains(errs, "TENCENTCLOUD_SECRET_ID") || code != exitOK {
			t.Errorf("got %q, %q, exit %d", out, errs, code)
		}
	})

	t.Run("an endpoint and a region that do not go together, by what is known", func(t *testing.T) {
		out, errs, code := tiwsnap(t, []string{"TENCENTCLOUD_SECRET_ID=id", "TENCENTCLOUD_SECRET_KEY=key"},
			"config", "check", "--endpoint", config.IntlEndpoint, "--region", "ap-guangzhou")
		want := "warning: TIWSNAP_TIW_REGION: ap-guangzhou is not available at the endpoint " + config.IntlEndpoint + ": "
		if out != "ok\n" || !strings.HasPrefix(errs, want) || code != exitOK {
			t.Errorf("got %q, %q, exit %d", out, errs, code)
		}
	})

	t.Run("faults in the file, the environment and the flags", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "tiwsnap.yml")
		if err := os.WriteFile(file, []byte("worker: {concurency: 3}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		out, errs, code := tiwsnap(t, []string{"TIWSNAP_LOG_LEVEL=loud", "TENCENTCLOUD_SECRET_KEY=S3CR3T"},
			"config", "check", "--config", file, "--rate", "0")
		want := `tiwsnap: bad configuration:
  ` + file + `:1: worker.concurency: is not a setting: did you mean worker.concurrency?
  TIWSNAP_LOG_LEVEL: "loud" must be debug, info, warn or error
  --rate: "0" must be a whole number from 1 to 10000
  TENCENTCLOUD_SECRET_ID: is missing: set it, or TENCENTCLOUD_SECRET_ID_FILE, ` +
			"as on https://console.tencentcloud.com/cam/capi\n"
		if diff := cmp.Diff(want, errs); diff != "" || out != "" || code != exitConfig {
			t.Errorf("stdout %q, exit %d, stderr:\n%s", out, code, diff)
		}
	})
}

func TestConfigPrint(t *testing.T) {
	out, errs, code := tiwsnap(t, []string{
		"TENCENTCLOUD_SECRET_ID=S3CR3T", "TENCENTCLOUD_SECRET_KEY=S3CR3T", "TIWSNAP_REDIS_URL=redis://:S3CR3T@db:6379/0",
	}, "config", "print", "--rate", "19")
	if code != exitOK || errs != "" {
		t.Fatalf("exit %d, %q", code, errs)
	}
	for _, want := range []string{"  url: redis://:***@db:6379/0 # TIWSNAP_REDIS_URL\n", "  limit: 19 # --rate\n",
		"retention: 168h # default\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("it lacks %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "S3CR3T") {
		t.Errorf("it shows a secret:\n%s", out)
	}
}

func TestOpenRedis(t *testing.T) {
	needs.Time(t)
	load := func(t *testing.T, url string) config.Config {
		t.Helper()
		c, err := config.Load(config.Source{Environ: []string{"TIWSNAP_REDIS_URL=" + url}})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}

	t.Run("a Redis that is there", func(t *testing.T) {
		client, closeRedis, err := openRedis(t.Context(), load(t, redistest.Real(t).URL()))
		if err != nil {
			t.Fatal(err)
		}
		defer closeRedis()
		if err := client.Set(t.Context(), "k", "v", 0).Err(); err != nil {
			t.Error(err)
		}
	})

	t.Run("one that is away: exit 69 with its address", func(t *testing.T) {
		s := redistest.Real(t)
		s.Kill()
		_, _, err := openRedis(t.Context(), load(t, s.URL()))
		var exit *exitError
		if !errors.As(err, &exit) || exit.code != exitUnavailable {
			t.Fatalf("got %v", err)
		}
		want := "redis at " + s.URL() + " does not answer: dial tcp " + s.Addr +
			": connect: connection refused; start Redis there, or set TIWSNAP_REDIS_URL or --redis-url"
		if diff := cmp.Diff(want, err.Error()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestLogger(t *testing.T) {
	for _, test := range []struct{ level, format, want string }{
		{"warn", "text", "level=WARN msg=two key=***\n"},
		{"info", "json", `"level":"INFO","msg":"one"}` + "\n" + `"level":"WARN","msg":"two","key":"***"}` + "\n"},
	} {
		t.Run(test.level+" as "+test.format, func(t *testing.T) {
			c, err := config.Load(config.Source{
				Environ: []string{"TIWSNAP_LOG_LEVEL=" + test.level, "TIWSNAP_LOG_FORMAT=" + test.format},
			})
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			log, _ := newLogger(c, &out)
			log.Info("one")
			log.Warn("two", "key", config.NewSecret("S3CR3T"))
			var got strings.Builder
			for line := range strings.Lines(out.String()) { // without the time
				_, rest, _ := strings.Cut(line, map[string]string{"text": " ", "json": ","}[test.format])
				got.WriteString(rest)
			}
			if diff := cmp.Diff(test.want, got.String()); diff != "" {
				t.Error(diff)
			}
			if log.Enabled(context.Background(), slog.LevelDebug) {
				t.Error("debug is on")
			}
		})
	}
}
