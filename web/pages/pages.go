// Package pages is the pages for people, in English and Chinese. Each page has a file page_NAME.go with its routes and
// its data, and a template in templates/, which fills in the layout; words.go has the texts. Most pages are kept up to
// date by a stream of HTML, and all of them work without JavaScript. What they show and do is the API's.
package pages

import (
	"bytes"
	"context"
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
	"sync"
	"time"

	"tiwsnap/internal/audit"
	"tiwsnap/internal/seldom"
	"tiwsnap/web"
	"tiwsnap/web/api"
)

// The pages. Each has a Go file here (page_NAME.go), with its routes and what
// it shows, and a template in pages/, which fills in the layout. Its words, in
// each language, are in words.go.
//
//go:embed templates
var pageFiles embed.FS

// PagesOptions are the settings of the pages. Auth and API are required.
type Options struct {
	Auth *web.Auth
	API  *api.API     // what the pages show and do is the API's
	Log  *slog.Logger // default: none
}

// Pages are what people see in a browser.
type Pages struct {
	o       Options
	api     *api.API
	now     *nowReader
	refused seldom.Message
}

// NewPages returns the pages, with all their templates parsed. It does not touch Redis.
func New(o Options) *Pages {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	for _, t := range pageTemplates {
		t() // a broken one panics here and not when somebody opens the page
	}
	return &Pages{
		o: o, api: o.API, now: &nowReader{api: o.API}, refused: seldom.New(),
	}
}

// Routes returns the routes of all pages. A new page is a line here.
func (p *Pages) Routes() []web.Route {
	return slices.Concat(
		assetRoutes(),
		p.loginRoutes(),
		p.settingsRoutes(),
		p.nowRoutes(),
		p.batchesRoutes(),
		p.batchRoutes(),
		p.picturesRoutes(),
		p.snapshotRoutes(),
		p.newRoutes(),
		p.findRoutes(),
		p.failuresRoutes(),
		p.schedulesRoutes(),
		p.webhooksRoutes(),
		p.systemRoutes(),
		p.docsRoutes(),
	)
}

// pageTime bounds what is read for a page.
const pageTime = 5 * time.Second

// screen is a page: what is read for it, and where it stands.
type screen struct {
	path string // as in "/batches/{id}"
	role web.Role
	nav  string // the line of the navigation that it belongs to
	// read returns the title, in the language of the request, and the data of
	// the template. The error is answered as the API does.
	read func(r *http.Request) (title string, data any, err error)
	// every is the time between two looks of the stream that keeps the page up
	// to date, by its template "live"; 0: there is none.
	every time.Duration
}

// screen returns the routes of a page.
func (p *Pages) screen(t pageTemplate, s screen) []web.Route {
	pattern := s.path
	if pattern == "/" {
		pattern = "/{$}"
	}
	look := func(r *http.Request) (view, error) {
		ctx, cancel := context.WithTimeout(r.Context(), pageTime)
		defer cancel()
		title, data, err := s.read(r.WithContext(ctx))
		v := newView(r, title, data)
		v.Nav = s.nav
		return v, err
	}
	routes := []web.Route{web.Handle("GET "+pattern, s.role, func(w http.ResponseWriter, r *http.Request) {
		v, err := look(r)
		if err != nil {
			api.ProblemOf(p.o.Log, s.path, err).Write(w, r)
			return
		}
		if s.every > 0 {
			v.Live = v.base + "/live" + r.URL.RequestURI()
		}
		v.takeSaid(w, r)
		if err := v.show(w, r, http.StatusOK, t); err != nil {
			p.o.Log.Error("page not shown", "path", r.URL.Path, "err", err)
		}
	})}
	if s.every > 0 {
		routes = append(routes, web.Handle("GET /live"+pattern, s.role, p.live(t, s.every, look)))
	}
	return routes
}

// actionTime bounds what a form does: some read a class list from another server.
const actionTime = 45 * time.Second

// action is the route of a form: it does what the form asks for, leads to a
// page, and has that say what was done.
func (p *Pages) action(
	pattern string, role web.Role, do func(*http.Request) (to string, said text, err error),
) web.Route {
	return web.Handle("POST "+pattern, role, func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		if err := r.ParseForm(); err != nil {
			web.NewProblem(http.StatusBadRequest, web.CodeInvalid, "this form cannot be read: %v", err).Write(w, r)
			return
		}
		ctx, cancel := context.WithTimeout(api.WithVia(r.Context(), audit.Page), actionTime)
		defer cancel()
		to, said, err := do(r.WithContext(ctx))
		if err != nil {
			api.ProblemOf(p.o.Log, pattern, err).Write(w, r)
			return
		}
		keepSaid(w, r, said)
		http.Redirect(w, r, web.BaseOf(r)+to, http.StatusSeeOther)
	})
}

var problemPage = page("problem.html")

// ShowProblem writes a problem as a page.
func ShowProblem(w http.ResponseWriter, r *http.Request, p *web.Problem) {
	l := langOf(r)
	title := l.say("problem." + p.Code)
	if title == "problem."+p.Code {
		title = p.Title
	}
	newView(r, title, p).show(w, r, p.Status, problemPage) // what can fail in it is compiled in
}

// show answers with a page.
func (p *Pages) show(w http.ResponseWriter, r *http.Request, status int, t pageTemplate, title string, data any) {
	if err := newView(r, title, data).show(w, r, status, t); err != nil {
		p.o.Log.Error("page not shown", "path", r.URL.Path, "err", err)
	}
}

// show answers with the page. The error is that of its template, and has been
// answered.
func (v view) show(w http.ResponseWriter, r *http.Request, status int, t pageTemplate) error {
	var b bytes.Buffer
	if err := t()[v.Lang].Execute(&b, v); err != nil {
		r.Header.Del("Accept") // of another page it would be the same
		web.InternalProblem().Write(w, r)
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Language", v.Lang.String())
	w.WriteHeader(status)
	w.Write(b.Bytes())
	return nil
}

// pageTemplate returns the template of a page in each language. It is parsed at
// the first call: most commands show no page, and should not pay for it.
type pageTemplate func() [languages]*template.Template

// pageTemplates are those of all pages.
var pageTemplates []pageTemplate

// page reads the template of a page and puts it into the layout.
func page(name string) pageTemplate {
	t := sync.OnceValue(func() (t [languages]*template.Template) {
		for l := range t {
			t[l] = template.Must(template.New("layout.html").Funcs(functions(lang(l))).
				ParseFS(pageFiles, "templates/layout.html", "templates/parts.html", "templates/"+name))
		}
		return t
	})
	pageTemplates = append(pageTemplates, t)
	return t
}

// assets are the URLs of what pages load, by file name. They change with the
// content, so that browsers may keep it for ever.
var assets = func() map[string]string {
	all := map[string]string{}
	entries, err := fs.ReadDir(pageFiles, "templates")
	if err != nil {
		panic(err) // it is compiled in
	}
	for _, e := range entries {
		if path.Ext(e.Name()) == ".html" {
			continue
		}
		b, err := pageFiles.ReadFile("templates/" + e.Name())
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(b)
		all[e.Name()] = "/static/" + hex.EncodeToString(sum[:8]) + "/" + e.Name()
	}
	return all
}()

func assetRoutes() (routes []web.Route) {
	for name, url := range assets {
		routes = append(routes, web.Handle("GET "+url, "", func(w http.ResponseWriter, r *http.Request) {
			b, _ := pageFiles.ReadFile("templates/" + name)
			w.Header().Set("Content-Type", mime.TypeByExtension(path.Ext(name)))
			w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
			w.Write(b)
		}))
	}
	// What browsers ask for beside answers that are no page.
	icon := http.RedirectHandler(assets["icon.svg"], http.StatusFound)
	return append(routes, web.Handle("GET /favicon.ico", "", icon.ServeHTTP))
}
