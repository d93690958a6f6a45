package cli

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/config"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
)

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

	t.Run("available", func(t *testing.T) {
		client, closeRedis, err := openRedis(t.Context(), load(t, redistest.Real(t).URL()))
		if err != nil {
			t.Fatal(err)
		}
		defer closeRedis()
		if err := client.Set(t.Context(), "k", "v", 0).Err(); err != nil {
			t.Error(err)
		}
	})

	t.Run("unavailable: exit code 69 with the address", func(t *testing.T) {
		s := redistest.Real(t)
		s.Kill()
		_, _, err := openRedis(t.Context(), load(t, s.URL()))
		var exit *exitError
		if !errors.As(err, &exit) || exit.code != exitUnavailable {
			t.Fatalf("openRedis() = %v, want exit code %d", err, exitUnavailable)
		}
		want := "redis at " + s.URL() + " does not answer: dial tcp " + s.Addr +
			": connect: connection refused; start Redis there, or set TIWSNAP_REDIS_URL or --redis-url"
		if diff := cmp.Diff(want, err.Error()); diff != "" {
			t.Errorf("openRedis() error (-want +got):\n%s", diff)
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
				t.Errorf("log (-want +got):\n%s", diff)
			}
			if log.Enabled(context.Background(), slog.LevelDebug) {
				t.Error("level debug is enabled")
			}
		})
	}
}
