package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/config"
)

func TestConfigCheck(t *testing.T) {
	t.Run("valid", func(t *testing.T) {
		out, errs, code := tiwsnap(t, []string{"TENCENTCLOUD_SECRET_ID=id", "TENCENTCLOUD_SECRET_KEY=key"}, "config", "check")
		if out != "ok\n" || errs != "" || code != exitOK {
			t.Errorf("stdout %q, stderr %q, exit code %d", out, errs, code)
		}
	})

	t.Run("valid, but a worker would need credentials", func(t *testing.T) {
		out, errs, code := tiwsnap(t, nil, "config", "check")
		if out != "ok\n" || !strings.Contains(errs, "TENCENTCLOUD_SECRET_ID") || code != exitOK {
			t.Errorf("stdout %q, stderr %q, exit code %d", out, errs, code)
		}
	})

	t.Run("region not available at the endpoint", func(t *testing.T) {
		out, errs, code := tiwsnap(t, []string{"TENCENTCLOUD_SECRET_ID=id", "TENCENTCLOUD_SECRET_KEY=key"},
			"config", "check", "--endpoint", config.IntlEndpoint, "--region", "ap-guangzhou")
		want := "warning: TIWSNAP_TIW_REGION: ap-guangzhou is not available at the endpoint " + config.IntlEndpoint + ": "
		if out != "ok\n" || !strings.HasPrefix(errs, want) || code != exitOK {
			t.Errorf("stdout %q, stderr %q, exit code %d", out, errs, code)
		}
	})

	t.Run("errors in the file, the environment and the flags", func(t *testing.T) {
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
			t.Errorf("stdout %q, exit code %d, stderr (-want +got):\n%s", out, code, diff)
		}
	})
}

func TestConfigPrint(t *testing.T) {
	out, errs, code := tiwsnap(t, []string{
		"TENCENTCLOUD_SECRET_ID=S3CR3T", "TENCENTCLOUD_SECRET_KEY=S3CR3T", "TIWSNAP_REDIS_URL=redis://:S3CR3T@db:6379/0",
	}, "config", "print", "--rate", "19")
	if code != exitOK || errs != "" {
		t.Fatalf("config print: exit code %d, %q", code, errs)
	}
	for _, want := range []string{"  url: redis://:***@db:6379/0 # TIWSNAP_REDIS_URL\n", "  limit: 19 # --rate\n",
		"retention: 168h # default\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("config print lacks %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "S3CR3T") {
		t.Errorf("config print shows a secret:\n%s", out)
	}
}
