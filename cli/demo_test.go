package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tiwsnap/internal/needs"
)

func TestDemo(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	var out, errs bytes.Buffer
	list := "SdkAppId,RoomId\n1400123480,1\n1400123480,2\n1400123480,3\n"
	path := filepath.Join(t.TempDir(), "rooms.csv")
	if err := os.WriteFile(path, []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	if code := run(t.Context(), []string{"demo", "--rooms", path},
		env{strings.NewReader(""), &out, &errs, variables(nil)}); code != exitOK {
		t.Fatalf("demo: exit code %d: %s", code, errs.String())
	}
	if !strings.Contains(errs.String(), "nothing is durable") {
		t.Errorf("stderr lacks the warning: %s", errs.String())
	}
	words := strings.Fields(out.String())
	want := map[string]string{"rooms": "3", "succeeded": "3", "failed": "0", "rejected": "0"}
	for i, w := range words {
		if v, ok := want[w]; ok && i+1 < len(words) && words[i+1] == v {
			delete(want, w)
		}
	}
	if len(want) > 0 {
		t.Errorf("the summary lacks %v:\n%s", want, out.String())
	}
}
