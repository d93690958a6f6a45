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

//go:embed templates
var pageFiles embed.FS

// Options are the settings of the pages. Auth and API are required.
type Options struct {
	Auth *web.Auth
	API  *api.API     // what the pages show and do is the API's
	Log  *slog.Logger // default: none
}

// Pages serves the pages.
type Pages struct {
	o       Options
	api     *api.API
	now     *nowReader
	refused seldom.Message
}

// New returns the pages, with all templates parsed. It does not use Redis.
func New(o Options) *Pages {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	for _, t := range pageTemplates {
		t() // a broken one panics now, and not when it is shown
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
		p.imagesRoutes(),
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

// pageTime bounds the reads for a page.
const pageTime = 5 * time.Second

// screen describes a page.
type screen struct {
	path string // as in "/batches/{id}"
	role web.Role
	nav  string // its line of the navigation
	// read returns the title, in the language of the request, and the data of the template. The error is answered as
	// by the API.
	read func(r *http.Request) (title string, data any, err error)
	// every is the time between two reads of the stream that updates the page by its template "live"; 0: none.
	every time.Duration
}

// screen returns the routes of a page, and of its stream.
func (p *Pages) screen(t pageTemplate, s screen) []web.Route {
	pattern := s.path
	if pattern == "/" {
		pattern = "/{$}"
	}
	load := func(r *http.Request) (view, error) {
		ctx, cancel := context.WithTimeout(r.Context(), pageTime)
		defer cancel()
		title, data, err := s.read(r.WithContext(ctx))
		v := newView(r, title, data)
		v.Nav = s.nav
		return v, err
	}
	routes := []web.Route{web.Handle("GET "+pattern, s.role, func(w http.ResponseWriter, r *http.Request) {
		v, err := load(r)
		if err != nil {
			api.ProblemOf(p.o.Log, s.path, err).Write(w, r)
			return
		}
		if s.every > 0 {
			v.Live = v.base + "/live" + r.URL.RequestURI()
		}
		v.takeFlash(w, r)
		if err := v.show(w, r, http.StatusOK, t); err != nil {
			p.o.Log.Error("page not shown", "path", r.URL.Path, "err", err)
		}
	})}
	if s.every > 0 {
		routes = append(routes, web.Handle("GET /live"+pattern, s.role, p.live(t, s.every, load)))
	}
	return routes
}

// actionTime bounds the action of a form: some read a class list from another server.
const actionTime = 45 * time.Second

// action returns the route of a form. It does what the form asks for, redirects to a page, and shows there what was
// done.
func (p *Pages) action(
	pattern string, role web.Role, do func(*http.Request) (to string, said text, err error),
) web.Route {
	return web.Handle("POST "+pattern, role, func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		if err := r.ParseForm(); err != nil {
			web.NewProblem(http.StatusBadRequest, web.CodeInvalid, "the form cannot be read: %v", err).Write(w, r)
			return
		}
		ctx, cancel := context.WithTimeout(api.WithVia(r.Context(), audit.Page), actionTime)
		defer cancel()
		to, said, err := do(r.WithContext(ctx))
		if err != nil {
			api.ProblemOf(p.o.Log, pattern, err).Write(w, r)
			return
		}
		setFlash(w, r, said)
		http.Redirect(w, r, web.BaseOf(r)+to, http.StatusSeeOther)
	})
}

// show answers with a page.
func (p *Pages) show(w http.ResponseWriter, r *http.Request, status int, t pageTemplate, title string, data any) {
	if err := newView(r, title, data).show(w, r, status, t); err != nil {
		p.o.Log.Error("page not shown", "path", r.URL.Path, "err", err)
	}
}

// show answers with the page. An error of the template is returned, and answered with 500.
func (v view) show(w http.ResponseWriter, r *http.Request, status int, t pageTemplate) error {
	var b bytes.Buffer
	if err := t()[v.Lang].Execute(&b, v); err != nil {
		r.Header.Del("Accept") // a page of the problem would fail, too
		web.InternalProblem().Write(w, r)
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Language", v.Lang.String())
	w.WriteHeader(status)
	w.Write(b.Bytes())
	return nil
}

// pageTemplate returns the template of a page in each language. It is parsed at the first call: most commands show no
// page.
type pageTemplate func() [languages]*template.Template

// pageTemplates are the templates of all pages.
var pageTemplates []pageTemplate

// page returns the template of a page, in the layout.
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

// assets are the URLs of scripts, styles and icons, by file name. The URL changes with the content, so browsers may
// keep it for ever.
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
	// Browsers request it with answers that are no page.
	icon := http.RedirectHandler(assets["icon.svg"], http.StatusFound)
	return append(routes, web.Handle("GET /favicon.ico", "", icon.ServeHTTP))
}
