package config_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"tiwsnap/config"
)

func TestSecretIsNeverPrinted(t *testing.T) {
	const text = "S3CR3T"
	s := config.NewSecret(text)
	if s.Reveal() != text {
		t.Fatalf("Reveal() = %q, want %q", s.Reveal(), text)
	}
	if (config.Secret{}).Reveal() != "" || !(config.Secret{}).Empty() || s.Empty() {
		t.Error("the zero Secret must be empty, and no other")
	}
	values := map[string]any{
		"itself":              s,
		"a pointer":           &s,
		"an exported field":   struct{ Key config.Secret }{s},
		"an unexported field": struct{ key config.Secret }{s},
		"a slice":             []config.Secret{s},
		"a map":               map[string]config.Secret{"key": s},
		"an error":            fmt.Errorf("key %v rejected", s),
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
				t.Errorf("the output shows the secret:\n%s", got)
			}
		})
	}
}
