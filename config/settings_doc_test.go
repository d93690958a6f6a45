package config

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table of settings into docs/settings.md")

// docs/settings.md must have the same table of settings as the code.
func TestSettingsDoc(t *testing.T) {
	const file, head = "../docs/settings.md", "| variable | default | meaning |\n| --- | --- | --- |\n"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, _, found := strings.Cut(string(text), head)
	if !found {
		t.Fatalf("%s has no table that begins with %q", file, head)
	}
	want := before + head
	for _, s := range settings {
		def := ""
		if s.def != "" {
			def = "`" + s.def + "`"
		}
		want += fmt.Sprintf("| `%s` | %s | %s |\n", s.env(), def, s.doc)
	}
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want != string(text) {
		t.Errorf("%s differs from the table in the code; go test ./config -run SettingsDoc -update writes it", file)
	}
}
