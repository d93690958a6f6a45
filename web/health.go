package web

import (
	"io"
	"net/http"
)

// HealthRoutes returns the routes that tell whether this process works.
func (a *API) HealthRoutes() []Route {
	return []Route{
		{"GET /livez", "", http.HandlerFunc(livez)},
	}
}

// livez answers as long as the process does.
func livez(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") }
