package pages

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"tiwsnap/internal/audit"
	"tiwsnap/ledger"
	"tiwsnap/web"
)

// Every text that a template or Go file uses is in the catalog, in both languages and with the same placeholders. The
// catalog has no unused text.
func TestCatalogIsComplete(t *testing.T) {
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
	take(os.DirFS("templates"), ".html", `\{\{[^}]*?\bt "([a-z0-9.-]+)"`, `\(t "([a-z0-9.-]+)"`, `\bn "([a-z0-9.-]+)"`)
	take(os.DirFS("."), ".go", `\b(?:say|given)\("([a-z0-9.-]+)"`)
	take(os.DirFS("."), ".go", `"(said[.][a-z.]+)"`)
	for _, folder := range []string{".", "../api", "../../cli"} { // the actions of the audit log
		for _, action := range matches(t, os.DirFS(folder), `\b(?:did|audit|Audit)\([^,]+, "([a-z-]+)"`) {
			used["did."+action] = true
		}
	}
	// Texts whose names are composed at run time.
	some := func(prefix string, names ...string) {
		for _, name := range names {
			used[prefix+name] = true
		}
	}
	for _, s := range allStates {
		some("state.", string(s))
	}
	some("state.", "held")
	some("did.", "pause-batch", "resume-batch", "pause-schedule", "resume-schedule")
	some("via.", audit.Page, audit.API, audit.Command)
	some("mode.", "AllMarks", "LatestMarksOnly")
	for _, group := range totalsOrder {
		some("", group.Key())
		some("total.", group.Counters...)
	}
	some("totals.", "other")
	some("docs.in.", "path", "query", "header")
	for _, key := range formLabels {
		used[key] = true
	}
	some("time.", "ago", "in")
	some("redis.", "emptied", "older") // the kinds of data loss
	some("span.", "15m", "24h", "7d")
	some("tick.", "enqueued", "skipped", "missed", "failed")
	some("batch.", "running", "paused", "canceled", "ended")
	some("filter.", "open", "running", "paused", "canceled", "ended", "failed")
	for _, s := range []ledger.State{
		ledger.Unknown, ledger.Queued, ledger.Succeeded, ledger.Failed, ledger.Canceled,
	} {
		some("moment.", string(s))
	}
	some("next.", "queued", "sending", "unknown", "accepted")
	for _, v := range []view{{}, {Who: web.Principal{Roles: []web.Role{web.RoleOperate}}}} {
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
	hasHan := func(s string) bool { return strings.ContainsFunc(s, han) }
	for key := range used {
		if _, ok := catalog[key]; !ok && key != "code.meaning" && key != "code.fix" && !strings.HasSuffix(key, ".") {
			t.Errorf("%q is used and not in the catalog", key)
		}
	}
	for key, words := range catalog {
		if !used[key] && !strings.HasPrefix(key, "problem.") {
			t.Errorf("%q is in the catalog and not used", key)
		}
		if words[english] == "" || hasHan(words[english]) {
			t.Errorf("%q in English is %q", key, words[english])
		}
		same := words[english] == words[chinese] // names that are the same in both languages
		if words[chinese] == "" || !same && !hasHan(words[chinese]) {
			t.Errorf("%q in Chinese is %q", key, words[chinese])
		}
		if !strings.HasPrefix(key, "time.") && strings.Contains(words[english], "%d") {
			t.Errorf("%q has a %%d, and numbers come as text: write %%s", key)
		}
		want := strings.Join(verbs.FindAllString(strings.Split(words[english], "|")[0], -1), " ")
		for _, form := range append(strings.Split(words[english], "|"), words[chinese]) {
			if got := strings.Join(verbs.FindAllString(form, -1), " "); got != want {
				t.Errorf("%q: %q has the placeholders %s, want %s", key, form, got, want)
			}
		}
	}
}

// A text that counts things has a form for 1, or reads well with any number.
func TestCountsHaveASingular(t *testing.T) {
	plural := regexp.MustCompile(
		`%s (?:[a-z]+ )?(?:rooms|rows|images|snapshots|requests|times|webhooks|tasks|ticks|tries)\b`)
	other := []string{"limit.differ.why", "redis.evicts"} // a range of different numbers, the name of a server
	found := 0
	for key, words := range catalog {
		one, _, two := strings.Cut(words[english], "|")
		if two {
			found++
		}
		if s := plural.FindString(one); s != "" && !slices.Contains(other, key) {
			t.Errorf("%q says %q for 1", key, s)
		}
	}
	if found < 20 {
		t.Errorf("%d texts have two forms, want 20 or more", found)
	}
	for _, test := range []struct{ got, want string }{
		{english.number("n.noimage", 1), "1 room without an image"},
		{english.number("n.noimage", 1234), "1,234 rooms without an image"},
		{chinese.number("n.noimage", 1), "1 个房间没有图片"},
		{english.number("retry.failed", 1), "Retry 1 failed room"},
		{english.say("limit.slowed", 1), "Slowed to 1 request a second"},
		{english.say("schedule.trying", 1), "The tick that is due has failed 1 time:"},
		{english.say("said.there", 2), "The same 2 rooms were enqueued before. Nothing was added; " +
			"to snapshot them once more use Again."},
		{chinese.translate("tuesday: 1 room"), "tuesday：1 个房间"},
	} {
		if test.got != test.want {
			t.Errorf("got %q, want %q", test.got, test.want)
		}
	}
}

func han(c rune) bool { return unicode.Is(unicode.Han, c) }

// matches returns the matches of a regular expression in the Go files of a folder.
func matches(t *testing.T, folder fs.FS, form string) (all []string) {
	t.Helper()
	names, err := fs.Glob(folder, "*.go")
	if err != nil || len(names) == 0 {
		t.Fatal("no files", err)
	}
	for _, name := range names {
		text, err := fs.ReadFile(folder, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(form).FindAllStringSubmatch(string(text), -1) {
			all = append(all, m[1])
		}
	}
	return all
}

// The faults of a list and the problems on pages have a Chinese translation.
func TestReasonsAreTranslated(t *testing.T) {
	formats := map[string]token.Position{}
	// Problems of these files are for programs only.
	programs := regexp.MustCompile(`_test\.go$|api/(upload|create_batch|json_list|list|idempotency|list_snapshots)\.go$`)
	for _, pattern := range []string{
		"../../internal/rooms/*.go", "../../tasks/room.go", "../*.go", "../api/*.go", "*.go",
	} {
		names, _ := filepath.Glob(pattern)
		names = slices.DeleteFunc(names, programs.MatchString)
		collect(t, names, formats)
	}
	maps.DeleteFunc(formats, func(format string, _ token.Position) bool {
		return format == "%s %s" || strings.Contains(format, "Idempotency-Key has") ||
			strings.Contains(format, "another Key") || strings.Contains(format, "format=csv")
	})
	if len(formats) < 110 {
		t.Fatalf("found %d formats, want 110 or more", len(formats))
	}
	verb := regexp.MustCompile(`%[0-9.]*[a-z]`)
	for format, at := range formats {
		said := verb.ReplaceAllStringFunc(format, func(v string) string {
			return map[string]string{"d": "12", "g": "50", "q": `"a, \"b\": c"`, "s": "X", "v": "X"}[v[len(v)-1:]]
		})
		if got := chinese.translate(said); !strings.ContainsFunc(got, han) {
			t.Errorf("%s: %q is not in Chinese: translate.go", at, format)
		}
		if got := english.translate(said); got != said {
			t.Errorf("%q in English is %q", said, got)
		}
	}
	const quoted = "the row has 3 fields, the header has 2 (a field that contains ',' must be in quotes)"
	for said, want := range map[string]string{
		`is "abc", it must be a whole number`:               `为 "abc"，必须是整数`,
		"30001 of SdkAppId 1400123480 is already on line 2": "30001（SdkAppId 1400123480）已在第 2 行出现",
		quoted:                         "该行有 3 个字段，表头有 2 个（含有 ',' 的字段必须加引号）",
		"a text without a translation": "a text without a translation",
		"command root@vm":              "命令行 root@vm",
		"it was stopped by a person":   "此前由人停止",
		"rooms of http://a: dial tcp 127.0.0.1:1: connect: connection refused": "房间名单 http://a：无法连接 127.0.0.1:1：连接被拒绝",
	} {
		if got := chinese.translate(said); got != want {
			t.Errorf("%q is %q, want %q", said, got, want)
		}
	}
}

// Every field that a page refuses has a label, or the form shows it by its name.
func TestFieldsOfFormsHaveLabels(t *testing.T) {
	byName := []string{"SdkAppId", "SnapshotMode"}
	all := matches(t, os.DirFS("."), `web\.Invalid\("([A-Za-z]+)"`)
	for _, field := range all {
		if formLabels[field] == "" && !slices.Contains(byName, field) {
			t.Errorf("the field %q has no label in formLabels", field)
		}
	}
	if len(all) < 10 {
		t.Errorf("found %d fields, want 10 or more", len(all))
	}
}

// collect finds the message formats that the files pass to functions that report an error.
func collect(t *testing.T, names []string, formats map[string]token.Position) {
	t.Helper()
	files := token.NewFileSet()
	constants := map[string]string{}
	var text func(e ast.Expr) (string, bool)
	text = func(e ast.Expr) (string, bool) {
		switch e := e.(type) {
		case *ast.BasicLit:
			s, err := strconv.Unquote(e.Value)
			return s, err == nil && e.Kind == token.STRING
		case *ast.Ident:
			s, ok := constants[e.Name]
			return s, ok
		case *ast.BinaryExpr:
			a, ok1 := text(e.X)
			b, ok2 := text(e.Y)
			return a + b, ok1 && ok2
		}
		return "", false
	}
	says := regexp.MustCompile(`^(fault|syntax|fileError|note|bad|NewProblem|Invalid|writeProblem)$`)
	var parsed []*ast.File
	for _, name := range names {
		file, err := parser.ParseFile(files, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, file)
		ast.Inspect(file, func(n ast.Node) bool {
			if v, ok := n.(*ast.ValueSpec); ok && len(v.Values) == 1 {
				if s, ok := text(v.Values[0]); ok {
					constants[v.Names[0].Name] = s
				}
			}
			return true
		})
	}
	for _, file := range parsed {
		ast.Inspect(file, func(n ast.Node) bool {
			var candidates []ast.Expr
			switch n := n.(type) {
			case *ast.CallExpr:
				name := ""
				switch f := n.Fun.(type) {
				case *ast.Ident:
					name = f.Name
				case *ast.SelectorExpr:
					name = f.Sel.Name
				}
				if says.MatchString(name) {
					candidates = n.Args
				}
			case *ast.AssignStmt:
				if id, ok := n.Lhs[0].(*ast.Ident); ok && id.Name == "hint" {
					candidates = n.Rhs
				}
			}
			for _, c := range candidates {
				if s, ok := text(c); ok && strings.Contains(s, " ") {
					formats[s] = files.Position(c.Pos())
				}
			}
			return true
		})
	}
}
