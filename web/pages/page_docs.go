package pages

import (
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"tiwsnap/web"
)

var docsPage = page("docs.html")

// docsRoutes returns the page that describes the API.
func (p *Pages) docsRoutes() []web.Route {
	return []web.Route{web.Handle("GET /docs", "", func(w http.ResponseWriter, r *http.Request) {
		var all []*huma.Operation
		for _, item := range p.api.OpenAPI().Paths {
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
			p.o.Log.Error("page not shown", "path", r.URL.Path, "err", err)
		}
	})}
}
