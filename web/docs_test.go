package web_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"

	"tiwsnap/web"
)

// /docs and docs/api.md have every operation of /openapi.json.
func TestEveryOperationIsDescribed(t *testing.T) {
	s := newService(t)
	var spec struct {
		OpenAPI string
		Paths   map[string]map[string]struct{ OperationID, Summary, Description string }
	}
	s.send("GET", "/openapi.json", "", "Authorization", "").want(200, &spec)
	page := s.send("GET", "/docs", "", "Authorization", "").want(200, nil).body
	if strings.Contains(page, "http://") || strings.Contains(page, "https://") || strings.Contains(page, "<script>") ||
		strings.Contains(page, "style=") {
		t.Error("it may load something from outside, or what the policy forbids")
	}
	text, err := os.ReadFile("../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for path, methods := range spec.Paths {
		for method, op := range methods {
			n++
			if !strings.Contains(page, "<code>"+strings.ToUpper(method)+" "+path+"</code>") {
				t.Errorf("/docs lacks %s %s", method, path)
			}
			if op.Summary == "" || !strings.HasPrefix(op.Description, "Needs the role ") {
				t.Errorf("%s: %+v", path, op)
			}
			shown := strings.TrimPrefix(path, "/v1/batches/{id}")
			if last := shown[strings.LastIndex(shown, "/")+1:]; !strings.Contains(string(text), path) &&
				!strings.Contains(string(text), "…/"+last) {
				t.Errorf("docs/api.md lacks %s", path)
			}
		}
	}
	if spec.OpenAPI != "3.1.0" || n < 17 {
		t.Errorf("OpenAPI %s, %d operations", spec.OpenAPI, n)
	}
}

// docs/api.md lists the code of every problem.
func TestEveryCodeIsDescribed(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "problem.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	ast.Inspect(file, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "code") {
			return true
		}
		code, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if n++; err != nil || !strings.Contains(string(text), "\n| `"+code+"` | ") {
			t.Errorf("docs/api.md lacks %s (%v)", code, err)
		}
		return true
	})
	if n < 15 {
		t.Errorf("%d codes", n)
	}
}

func TestNothingAndWrongMethods(t *testing.T) {
	s := newService(t)
	for _, path := range []string{"/v1", "/v1/", "/nothing", "/v1/batches/a/b", "/v1/snapshots"} {
		if path == "/v1/snapshots" {
			if r := s.send("DELETE", path, ""); r.header.Get("Allow") != "POST" {
				t.Errorf("Allow: %q", r.header.Get("Allow"))
			} else {
				r.problem(405, "method-not-allowed")
			}
			continue
		}
		s.send("GET", path, "").problem(404, "not-found")
	}
	s.send("GET", "/v1/schedules", "").want(200, &struct{ Schedules []json.RawMessage }{})
	s.send("GET", "/v1/limit", "").want(200, nil)
}

func TestTooManyRequests(t *testing.T) {
	s := newService(t)
	limited := 0
	for range 400 {
		r := s.send("GET", "/v1/limit", "", "Authorization", "Bearer "+s.tokens[web.RoleView])
		if r.status == 429 {
			limited++
			r.problem(429, "rate")
		}
	}
	if limited == 0 {
		t.Error("400 requests at once were let through")
	}
	s.send("GET", "/v1/limit", "").want(200, nil) // with another token
}
