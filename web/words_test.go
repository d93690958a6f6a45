package web

import (
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"tiwsnap/ledger"
)

// Every text that a template or a Go file names is in the catalog, in both
// languages and with the same things in it, and nothing else is.
func TestTheCatalogIsComplete(t *testing.T) {
	used := map[string]bool{}
	take := func(files fs.FS, ends string, forms ...string) {
		all, err := fs.Glob(files, "*"+ends)
		if err != nil || len(all) == 0 {
			t.Fatal("no files", err)
		}
		for _, name := range all {
			if strings.HasSuffix(name, "_test.go") || name == "words.go" {
				continue
			}
			text, err := fs.ReadFile(files, name)
			if err != nil {
				t.Fatal(err)
			}
			for _, form := range forms {
				for _, m := range regexp.MustCompile(form).FindAllStringSubmatch(string(text), -1) {
					used[m[1]] = true
				}
			}
		}
	}
	take(os.DirFS("pages"), ".html", `\{\{[^}]*?\bt "([a-z0-9.-]+)"`, `\(t "([a-z0-9.-]+)"`, `\bn "([a-z0-9.-]+)"`)
	take(os.DirFS("."), ".go", `\b(?:say|given)\("([a-z0-9.-]+)"`)
	// Those whose names are put together.
	some := func(prefix string, names ...string) {
		for _, name := range names {
			used[prefix+name] = true
		}
	}
	for _, s := range allStates {
		some("state.", string(s))
	}
	some("state.", "held")
	some("time.", "ago", "in")
	some("redis.", "emptied", "older") // the kinds of a loss
	some("span.", "15m", "24h", "7d")
	some("tick.", "enqueued", "skipped", "missed", "failed")
	some("batch.", "running", "paused", "canceled", "ended")
	some("filter.", "open", "running", "paused", "canceled", "ended", "failed")
	some("moment.", string(ledger.Unknown), string(ledger.Queued), string(ledger.Succeeded), string(ledger.Failed), string(ledger.Canceled))
	some("next.", "queued", "sending", "unknown", "accepted")
	for _, v := range []view{{}, {Who: Principal{Roles: []Role{RoleOperate}}}} {
		for _, group := range navigation(v) {
			for _, e := range group {
				used[e.Key()] = true
				if icons[e.Name] == "" {
					t.Errorf("%s has no icon", e.Name)
				}
			}
		}
	}

	verbs := regexp.MustCompile(`%[0-9]*[a-z]`)
	han := func(s string) bool {
		return strings.ContainsFunc(s, func(c rune) bool { return unicode.Is(unicode.Han, c) })
	}
	for key := range used {
		if _, ok := catalog[key]; !ok && key != "code.meaning" && key != "code.fix" && !strings.HasSuffix(key, ".") {
			t.Errorf("%q is used and not in the catalog", key)
		}
	}
	for key, words := range catalog {
		if !used[key] && !strings.HasPrefix(key, "problem.") {
			t.Errorf("%q is in the catalog and nowhere used", key)
		}
		if words[english] == "" || han(words[english]) {
			t.Errorf("%q in English is %q", key, words[english])
		}
		same := words[english] == words[chinese] // names that both have
		if words[chinese] == "" || !same && !han(words[chinese]) {
			t.Errorf("%q in Chinese is %q", key, words[chinese])
		}
		if !strings.HasPrefix(key, "time.") && strings.Contains(words[english], "%d") {
			t.Errorf("%q has a %%d, and numbers come as text: write %%s", key)
		}
		want := strings.Join(verbs.FindAllString(strings.Split(words[english], "|")[0], -1), " ")
		for _, form := range append(strings.Split(words[english], "|"), words[chinese]) {
			if got := strings.Join(verbs.FindAllString(form, -1), " "); got != want {
				t.Errorf("%q: %q has %s in it, want %s", key, form, got, want)
			}
		}
	}
}
