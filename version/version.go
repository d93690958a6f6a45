// Package version reports the release and the commit of a binary.
package version

import (
	"cmp"
	_ "embed"
	"runtime/debug"
	"strings"
)

// Values for the linker, as in the Dockerfile, which has no git:
// go build -ldflags "-X tiwsnap/version.version=… -X tiwsnap/version.commit=… -X tiwsnap/version.date=…".
var version, commit, date string

// release has three lines: the release, its commit and the date of the commit. In a git checkout the last two are
// placeholders that git archive replaces (.gitattributes).
//
//go:embed release.txt
var release string

// Info identifies a build.
type Info struct {
	Version  string // of the release, as in 0.1.0
	Commit   string // its hash; empty where unknown
	Date     string // of the commit, as in RFC 3339; empty where unknown
	Modified bool   // the checkout differed from the commit
}

// Read returns the values that the linker was given for this build. Missing values come from the git checkout that go
// build saw, or else from the source archive.
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

// String returns a semantic version with the start of the commit as build metadata: 0.1.0+b9bc42b26bd7.
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
