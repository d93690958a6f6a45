package api_test

import (
	"os"
	"strings"
	"testing"

	"tiwsnap/web/webtest"
)

// /docs and docs/api.md describe every operation of /openapi.json.
func TestOperationsAreDocumented(t *testing.T) {
	s := webtest.NewService(t)
	var spec struct {
		OpenAPI string
		Paths   map[string]map[string]struct{ OperationID, Summary, Description string }
	}
	s.Send("GET", "/openapi.json", "", "Authorization", "").Want(200, &spec)
	page := s.Send("GET", "/docs", "", "Authorization", "").Want(200, nil).Body
	if strings.Contains(page, "http://") || strings.Contains(page, "https://") || strings.Contains(page, "<script>") ||
		strings.Contains(page, "style=") {
		t.Error("/docs may load external files, or inline code that the policy forbids")
	}
	text, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for path, methods := range spec.Paths {
		for method, op := range methods {
			n++
			if !strings.Contains(page, "<code>"+strings.ToUpper(method)+" "+path+"</code>") {
				t.Errorf("/docs does not contain %s %s", method, path)
			}
			if op.Summary == "" || !strings.HasPrefix(op.Description, "Needs the role ") {
				t.Errorf("%s %s has the description %+v, want a summary and the role", method, path, op)
			}
			shown := strings.TrimPrefix(path, "/v1/batches/{id}")
			if last := shown[strings.LastIndex(shown, "/")+1:]; !strings.Contains(string(text), path) &&
				!strings.Contains(string(text), "…/"+last) {
				t.Errorf("docs/api.md does not contain %s", path)
			}
		}
	}
	if spec.OpenAPI != "3.1.0" || n < 17 {
		t.Errorf("/openapi.json has version %s and %d operations, want 3.1.0 and 17 or more", spec.OpenAPI, n)
	}
}
