package version

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/internal/needs"
)

func TestMain(m *testing.M) { os.Exit(needs.Reporting(m).Run()) }

func TestRead(t *testing.T) {
	const checkout = "0.1.0\n$Format:%H$\n$Format:%cI$\n"
	git := &debug.BuildInfo{Settings: []debug.BuildSetting{
		{Key: "vcs.revision", Value: "1234567890abcdef"},
		{Key: "vcs.time", Value: "2026-11-28T00:00:00Z"},
		{Key: "vcs.modified", Value: "true"},
	}}
	for _, test := range []struct {
		name    string
		linked  Info
		build   *debug.BuildInfo
		release string
		want    Info
		text    string
	}{
		{"only the release", Info{}, nil, checkout, Info{Version: "0.1.0"}, "0.1.0"},
		{"git checkout", Info{}, git, checkout,
			Info{"0.1.0", "1234567890abcdef", "2026-11-28T00:00:00Z", true}, "0.1.0+1234567890ab.modified"},
		{"source archive", Info{}, &debug.BuildInfo{}, "0.1.0\nabcdef\n2026-11-28T08:00:00+08:00\n",
			Info{"0.1.0", "abcdef", "2026-11-28T08:00:00+08:00", false}, "0.1.0+abcdef"},
		{"linker overrides all", Info{Version: "0.2.0", Commit: "fedcba"}, git, "0.1.0\nabcdef\n2026-11-28T08:00:00+08:00\n",
			Info{Version: "0.2.0", Commit: "fedcba"}, "0.2.0+fedcba"},
		{"linker sets only the release", Info{Version: "0.2.0"}, git, checkout,
			Info{"0.2.0", "1234567890abcdef", "2026-11-28T00:00:00Z", true}, "0.2.0+1234567890ab.modified"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := read(test.linked, test.build, test.release)
			if diff := cmp.Diff(test.want, got); diff != "" || got.String() != test.text {
				t.Errorf("read() = %s, want %s (-want +got):\n%s", got, test.text, diff)
			}
		})
	}
}

// The first version in the changelog must be the current one.
func TestChangelogHasRelease(t *testing.T) {
	text, err := os.ReadFile("../CHANGELOG.md")
	if err != nil {
		t.Fatal(err)
	}
	newest := regexp.MustCompile(`(?m)^## (\d\S*) - \d{4}-\d\d-\d\d$`).FindSubmatch(text)
	if newest == nil || string(newest[1]) != Read().Version {
		t.Errorf("newest version of CHANGELOG.md is %q, want %q as in release.txt", newest, Read().Version)
	}
}

// runProgram runs a program that uses only this package, in dir, and returns what Read returns there.
func runProgram(t *testing.T, dir string, args ...string) Info {
	t.Helper()
	for name, text := range map[string]string{
		"go.mod": "module tiwsnap\n\ngo 1.26\n",
		"main.go": `package main

import (
	"fmt"

	"tiwsnap/version"
)

func main() {
	v := version.Read()
	fmt.Printf("%s\n%s\n%s\n", v.Version, v.Commit, v.Date)
}
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", append(append([]string{"run", "-buildvcs=false"}, args...), ".")...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", cmd.Args, err)
	}
	lines := strings.Split(string(out), "\n")
	return Info{Version: lines[0], Commit: lines[1], Date: lines[2]}
}

// A source archive has no .git, so git archive writes the commit and its date into the source.
func TestSourceArchive(t *testing.T) {
	needs.Program(t, "git")
	needs.Program(t, "tar")
	git := func(args ...string) string {
		out, err := exec.CommandContext(t.Context(), "git", args...).Output()
		if err != nil {
			needs.Skip(t, "no git checkout with this package: git "+strings.Join(args, " ")+": "+err.Error())
		}
		return strings.TrimSpace(string(out))
	}
	want := strings.Split(git("log", "-1", "--format=%H %cI"), " ")
	dir := t.TempDir()
	archive := filepath.Join(dir, "source.tar")
	// The attributes of the working tree apply, so a change to them is tested before it is committed.
	git("-C", "..", "archive", "--worktree-attributes", "--format=tar", "-o", archive, "HEAD", "version")
	if out, err := exec.CommandContext(t.Context(), "tar", "-x", "-f", archive, "-C", dir).CombinedOutput(); err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
	got := runProgram(t, dir)
	if got.Version == "" || got.Commit != want[0] || got.Date != want[1] {
		t.Errorf("version of a source archive = %+v, want commit and date %v", got, want)
	}
}

// The image build has no .git, so the Dockerfile passes version, commit and date to the linker.
func TestDockerfileSetsVersion(t *testing.T) {
	text, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	command := strings.ReplaceAll(string(text), "\\\n", " ")
	flags := regexp.MustCompile(`-ldflags="([^"]*)"`).FindStringSubmatch(command)
	if flags == nil {
		t.Fatal("Dockerfile has no -ldflags")
	}
	args := map[string]string{"VERSION": "9.8.7", "COMMIT": "abcdef", "DATE": "2026-11-28T00:00:00Z"}
	for name := range args {
		if !regexp.MustCompile(`(?m)^ARG .*\b` + name + `\b`).Match(text) {
			t.Errorf("Dockerfile has no build argument %s", name)
		}
	}
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "version"), os.DirFS(".")); err != nil {
		t.Fatal(err)
	}
	got := runProgram(t, dir, "-ldflags="+os.Expand(flags[1], func(name string) string { return args[name] }))
	if want := (Info{"9.8.7", "abcdef", "2026-11-28T00:00:00Z", false}); got != want {
		t.Errorf("version of the image = %+v, want %+v", got, want)
	}
}
