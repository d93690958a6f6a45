// Package version reports the release and the commit of a binary.
package version

import (
	"cmp"
	_ "embed"
	"runtime/debug"
	"strings"
)

// What the linker may be told, as the Dockerfile does where there is no git:
// go build -ldflags "-X tiwsnap/version.version=… -X tiwsnap/version.commit=… -X tiwsnap/version.date=…".
var version, commit, date string

// release has three lines: the release, its commit and the date of that. In a git checkout the last two are
// placeholders, which git archive replaces (.gitattributes).
//
//go:embed release.txt
var release string

// Info is what is known of a build.
type Info struct {
	Version  string // of the release, as in 0.1.0
	Commit   string // its hash; empty where unknown
	Date     string // of the commit, as in RFC 3339; empty where unknown
	Modified bool   // the checkout differed from the commit
}

// Read returns what the linker was told of this build. What it was not told comes from the git checkout that go build
// saw, or else from the source archive.
func Read() Info {
	build, _ := debug.ReadBuildInfo()
	return read(Info{Version: version, Commit: commit, Date: date}, build, release)
}

func read(linked Info, build *debug.BuildInfo, release string) Info {
	var git, archive Info
	if build != nil {
		for _, s := range build.Settings {
			switch s.Key {
			case "vcs.revision":
				git.Commit = s.Value
			case "vcs.time":
				git.Date = s.Value
			case "vcs.modified":
				git.Modified = s.Value == "true"
			}
		}
	}
	for i, to := range []*string{&archive.Version, &archive.Commit, &archive.Date} {
		if lines := strings.Split(release, "\n"); i < len(lines) && !strings.HasPrefix(lines[i], "$") {
			*to = strings.TrimSpace(lines[i])
		}
	}
	for _, from := range []Info{linked, git, archive} {
		if from.Commit != "" { // commit and date belong together
			from.Version = cmp.Or(linked.Version, archive.Version)
			return from
		}
	}
	return Info{Version: cmp.Or(linked.Version, archive.Version)}
}

// String is a semantic version, with the beginning of the commit as build metadata: 0.1.0+b9bc42b26bd7.
func (i Info) String() string {
	s := i.Version
	if i.Commit != "" {
		s += "+" + i.Commit[:min(12, len(i.Commit))]
	}
	if i.Modified {
		s += ".modified"
	}
	return s
}
