package web

import (
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

var docsPage = page("docs.html")

// docs shows the description of the API to people. It loads nothing from
// outside.
func docs(spec *huma.OpenAPI) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var all []*huma.Operation
		for _, item := range spec.Paths {
			for _, op := range []*huma.Operation{item.Get, item.Post} {
				if op != nil {
					all = append(all, op)
				}
			}
		}
		slices.SortFunc(all, func(a, b *huma.Operation) int {
			return strings.Compare(a.Path+" "+a.Method, b.Path+" "+b.Method)
		})
		v := newView(r, "API", all)
		v.Nav = "api"
		if err := v.show(w, r, http.StatusOK, docsPage); err != nil {
			panic(err) // the template and the data are both ours
		}
	})
}
