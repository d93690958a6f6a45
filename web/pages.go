package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"html/template"
	"io/fs"
	"log/slog"
	"mime"
	"net/http"
	"path"
	"slices"
)

// The pages. Each has a Go file here (page_NAME.go), with its routes and what
// it shows, and a template in pages/, which fills in the layout.
//
//go:embed pages
var pageFiles embed.FS

// PagesOptions are the settings of the pages. Auth is required.
type PagesOptions struct {
	Auth *Auth
	Log  *slog.Logger // default: none
}

// Pages are what people see in a browser.
type Pages struct {
	o PagesOptions
}

// NewPages returns the pages.
func NewPages(o PagesOptions) *Pages {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Pages{o}
}

// Routes returns the routes of all pages. A new page is a line here.
func (p *Pages) Routes() []Route {
	return slices.Concat(
		assetRoutes(),
		p.loginRoutes(),
	)
}

// view is what the layout shows.
type view struct {
	Title string
	Who   Principal // nobody where the name is empty
	Login bool      // there is a session to end
	Data  any       // of the page
}

// show answers with a page.
func (p *Pages) show(w http.ResponseWriter, r *http.Request, status int, t *template.Template, title string, data any) {
	who := PrincipalOf(r.Context())
	var b bytes.Buffer
	if err := t.Execute(&b, view{title, who, len(p.o.Auth.o.Users) > 0 && who.Name != "", data}); err != nil {
		p.o.Log.Error("page not shown", "path", r.URL.Path, "err", err)
		http.Error(w, "this page cannot be shown: the log says why", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	w.Write(b.Bytes())
}

// page reads the template of a page and puts it into the layout.
func page(name string) *template.Template {
	return template.Must(template.New("layout.html").Funcs(template.FuncMap{"asset": assetURL}).
		ParseFS(pageFiles, "pages/layout.html", "pages/"+name))
}

// assets are the URLs of what pages load, by file name. They change with the
// content, so that browsers may keep it for ever.
var assets = func() map[string]string {
	all := map[string]string{}
	entries, err := fs.ReadDir(pageFiles, "pages")
	if err != nil {
		panic(err) // it is compiled in
	}
	for _, e := range entries {
		if path.Ext(e.Name()) == ".html" {
			continue
		}
		b, err := pageFiles.ReadFile("pages/" + e.Name())
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(b)
		all[e.Name()] = "/static/" + hex.EncodeToString(sum[:8]) + "/" + e.Name()
	}
	return all
}()

func assetURL(name string) string { return assets[name] }

func assetRoutes() (routes []Route) {
	for name, url := range assets {
		routes = append(routes, Route{"GET " + url, "", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, _ := pageFiles.ReadFile("pages/" + name)
			w.Header().Set("Content-Type", mime.TypeByExtension(path.Ext(name)))
			w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
			w.Write(b)
		})})
	}
	return routes
}
