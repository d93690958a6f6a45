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

	"tiwsnap/web/webtest"
)

// docs/api.md lists the code of every problem type.
func TestProblemCodesAreDocumented(t *testing.T) {
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
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Code") {
			return true
		}
		code, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if n++; err != nil || !strings.Contains(string(text), "\n| `"+code+"` | ") {
			t.Errorf("docs/api.md does not list the code %s (%v)", code, err)
		}
		return true
	})
	if n < 15 {
		t.Errorf("problem.go has %d codes, want 15 or more", n)
	}
}

func TestUnknownPathsAndMethods(t *testing.T) {
	s := webtest.NewService(t)
	for _, path := range []string{"/v1", "/v1/", "/nothing", "/v1/batches/a/b", "/v1/snapshots"} {
		if path == "/v1/snapshots" {
			if r := s.Send("DELETE", path, ""); r.Header.Get("Allow") != "POST" {
				t.Errorf("Allow is %q, want POST", r.Header.Get("Allow"))
			} else {
				r.Problem(405, "method-not-allowed")
			}
			continue
		}
		s.Send("GET", path, "").Problem(404, "not-found")
	}
	s.Send("GET", "/v1/schedules", "").Want(200, &struct{ Schedules []json.RawMessage }{})
	s.Send("GET", "/v1/limit", "").Want(200, nil)
}
