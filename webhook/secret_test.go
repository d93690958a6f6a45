package webhook_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"tiwsnap/webhook"
)

func TestSecret(t *testing.T) {
	for _, bad := range []string{
		"", "whsec_", secretA[6:], "whsec_dG9vIHNob3J0", "whsec_" + secretA, secretA + "=", secretA + "\n",
		"whsk_" + secretA[6:],
		"whsec_" + strings.Repeat("QUFB", 22),
	} {
		if _, err := webhook.ParseSecret(bad); err == nil || strings.Contains(err.Error(), "MfKQ") {
			t.Errorf("ParseSecret(%q): error = %v", bad, err)
		}
	}
	if _, err := webhook.New(webhook.Options{Secrets: []webhook.Secret{{}}}); err == nil {
		t.Error("New() succeeded without a secret")
	}

	s := parseSecret(t, secretA)
	var out strings.Builder
	for _, v := range []any{s, &s, struct{ S webhook.Secret }{s}, struct{ s webhook.Secret }{s}, []webhook.Secret{s},
		webhook.Options{Secrets: []webhook.Secret{s}}} {
		fmt.Fprintf(&out, "%v %+v %#v %s %x %d\n", v, v, v, v, v, v)
		slog.New(slog.NewTextHandler(&out, nil)).Info("text", "v", v)
		if err := json.NewEncoder(&out).Encode(v); err != nil {
			t.Error(err)
		}
	}
	for _, clear := range []string{"MfKQ", "31f290f6", "49 242 144", "0x31, 0xf2"} {
		if strings.Contains(strings.ToLower(out.String()), strings.ToLower(clear)) {
			t.Errorf("the output contains %s:\n%s", clear, out.String())
		}
	}
}
