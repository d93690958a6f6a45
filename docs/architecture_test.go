package docs

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

var update = flag.Bool("update", false, "write the packages into docs/architecture.md")

// aPackage is the output of `go list -json` for one package.
type aPackage struct {
	ImportPath, Name, Doc string
	GoFiles, Imports      []string
}

// packages returns all packages of this module by folder, except those with only tests. Their Imports are folders too.
func packages(t *testing.T) map[string]aPackage {
	t.Helper()
	all, err := listPackages()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

var listPackages = sync.OnceValues(func() (map[string]aPackage, error) {
	goList := exec.Command("go", "list", "-json=ImportPath,Name,Doc,GoFiles,Imports", "tiwsnap/...")
	goList.Stderr = os.Stderr
	out, err := goList.Output()
	if err != nil {
		return nil, err
	}
	all := make(map[string]aPackage)
	for in := json.NewDecoder(strings.NewReader(string(out))); in.More(); {
		var p aPackage
		if err := in.Decode(&p); err != nil {
			return nil, err
		}
		var ours []string
		for _, i := range p.Imports {
			if folder, found := strings.CutPrefix(i, "tiwsnap/"); found {
				ours = append(ours, folder)
			}
		}
		p.Imports = ours
		if folder, found := strings.CutPrefix(p.ImportPath, "tiwsnap/"); found && len(p.GoFiles) > 0 {
			all[folder] = p
		}
	}
	return all, nil
})

// inside reports whether a package is internal, a tool or a test helper. docs/architecture.md lists these separately.
func inside(folder string) bool {
	first, _, _ := strings.Cut(folder, "/")
	return first == "internal" || first == "bench" || first == "chaos" || strings.HasSuffix(folder, "test")
}

// drawing draws the main packages in levels, one line per level. A package stands above all its imports.
func drawing(all map[string]aPackage) string {
	levels := make(map[string]int)
	var level func(folder string) int
	level = func(folder string) int {
		if n, known := levels[folder]; known {
			return n
		}
		n := 0
		for _, i := range all[folder].Imports {
			if !inside(i) {
				n = max(n, level(i)+1)
			}
		}
		levels[folder] = n
		return n
	}
	var lines []string
	for _, folder := range slices.Sorted(maps.Keys(all)) {
		if inside(folder) {
			continue
		}
		for n := level(folder); len(lines) <= n; {
			lines = append(lines, "")
		}
		lines[levels[folder]] += "   " + folder
	}
	slices.Reverse(lines)
	return "```text\n" + strings.Join(lines, "\n") + "\n```\n"
}

// list lists the packages that which selects. An item has the first sentence of the package comment and the imports.
func list(all map[string]aPackage, which func(folder string) bool) string {
	var s strings.Builder
	for _, folder := range slices.Sorted(maps.Keys(all)) {
		if !which(folder) {
			continue
		}
		p := all[folder]
		does := strings.TrimPrefix(strings.TrimPrefix(p.Doc, "Package "+p.Name+" "), "Command "+path.Base(folder)+" ")
		var imports []string
		for _, i := range p.Imports {
			if !inside(i) {
				imports = append(imports, "`"+i+"`")
			}
		}
		item := fmt.Sprintf("- [%s](../%s) %s", folder, folder, does)
		if len(imports) > 0 {
			item += " Imports " + strings.Join(imports, ", ") + "."
		}
		s.WriteString(wrap(item, 120) + "\n")
	}
	return s.String()
}

// wrap breaks a list item into lines no wider than columns.
func wrap(item string, columns int) string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(item) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > columns {
			lines = append(lines, line)
			line = " "
		}
		line = strings.TrimPrefix(line+" "+word, " ")
		if len(lines) > 0 && !strings.HasPrefix(line, "  ") {
			line = "  " + strings.TrimLeft(line, " ")
		}
	}
	return strings.Join(append(lines, line), "\n")
}

// TestArchitecture checks that docs/architecture.md shows the current packages and that every file it names exists.
func TestArchitecture(t *testing.T) {
	const file = "architecture.md"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	all := packages(t)
	want := string(text)
	for name, made := range map[string]string{
		"drawing": drawing(all),
		"story":   list(all, func(folder string) bool { return !inside(folder) }),
		"inside":  list(all, inside),
	} {
		begin, end := "<!-- "+name+" -->\n", "<!-- end -->\n"
		before, rest, found := strings.Cut(want, begin)
		_, after, closed := strings.Cut(rest, end)
		if !found || !closed {
			t.Fatalf("%s has no place for the %s", file, name)
		}
		want = before + begin + made + end + after
	}
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(text) {
		t.Errorf("%s is not what the code has; go test ./docs -run Architecture -update writes it", file)
	}
	for _, m := range regexp.MustCompile("`([a-z]+/[a-z_/]+\\.(?:go|lua|md))`|\\]\\(\\.\\./([^)]+)\\)").
		FindAllStringSubmatch(want, -1) {
		if _, err := os.Stat(filepath.Join("..", m[1]+m[2])); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// Imports point from the user-facing packages down to the independent ones.
func TestImportsGoOneWay(t *testing.T) {
	all := packages(t)
	for folder, p := range all {
		for _, i := range p.Imports {
			part, _, _ := strings.Cut(folder, "/")
			of, _, _ := strings.Cut(i, "/")
			switch {
			case i == "cli", of == "web" && part != "cli" && part != "web",
				i == "worker" && part != "cli" && part != "web" && part != "worker":
				t.Errorf("%s imports %s, which stands above it", folder, i)
			case i == "config" && folder != "cli":
				t.Errorf("%s imports config: a package takes plain values or Options", folder)
			case folder == "tasks", folder == "tiw":
				if !strings.HasPrefix(i, "internal/") {
					t.Errorf("%s imports %s: it stands alone", folder, i)
				}
			}
		}
		first, _, _ := strings.Cut(p.Doc, ".")
		if !strings.HasPrefix(first, "Package "+p.Name+" ") && p.Name != "main" || p.Doc == "" {
			t.Errorf("%s has no package comment that begins with its name", folder)
		}
	}
}
