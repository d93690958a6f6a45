package config

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// The README's table of settings is this one.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, s := range settings {
		def := ""
		if s.def != "" {
			def = "`" + s.def + "`"
		}
		want = append(want, fmt.Sprintf("| `%s` | %s | %s |", s.env(), def, s.doc))
	}
	if !strings.Contains(string(readme), "| --- | --- | --- |\n"+strings.Join(want, "\n")+"\n\n") {
		t.Errorf("the README's table of settings should be:\n%s", strings.Join(want, "\n"))
	}
}
