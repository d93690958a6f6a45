package web

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

	"tiwsnap/gate"
	"tiwsnap/internal/audit"
	"tiwsnap/internal/seldom"
	"tiwsnap/ratelimit"
)

// The pages. Each has a Go file here (page_NAME.go), with its routes and what
// it shows, and a template in pages/, which fills in the layout. Its words, in
// each language, are in words.go.
//
//go:embed pages
var pageFiles embed.FS

// PagesOptions are the settings of the pages. Auth and API are required.
type PagesOptions struct {
	Auth *Auth
	API  *API         // what the pages show and do is the API's
	Log  *slog.Logger // default: none
}

// Pages are what people see in a browser.
type Pages struct {
	o       PagesOptions
	api     *API
	now     *nowReader
	refused seldom.Message
}

// NewPages returns the pages, with all their templates parsed. It does not touch Redis.
func NewPages(o PagesOptions) *Pages {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	for _, t := range pageTemplates {
		t() // a broken one panics here and not when somebody opens the page
	}
	return &Pages{
		o: o, api: o.API, now: newNowReader(o.API), refused: seldom.New(),
	}
}

// limiter is that of CreateSnapshotTask; nil where no worker runs in this
// process.
func (a *API) limiter() *ratelimit.Limiter { return a.o.Limiters[gate.ActionCreate] }

// Routes returns the routes of all pages. A new page is a line here.
func (p *Pages) Routes() []Route {
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
	)
}

// pageTime bounds what is read for a page.
const pageTime = 5 * time.Second

// screen is a page: what is read for it, and where it stands.
type screen struct {
	path string // as in "/batches/{id}"
	role Role
	nav  string // the line of the navigation that it belongs to
	// read returns the title, in the language of the request, and the data of
	// the template. The error is answered as the API does.
	read func(r *http.Request) (title string, data any, err error)
	// every is the time between two looks of the stream that keeps the page up
	// to date, by its template "live"; 0: there is none.
	every time.Duration
}

// screen returns the routes of a page.
func (p *Pages) screen(t pageTemplate, s screen) []Route {
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
	routes := []Route{{"GET " + pattern, s.role, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, err := look(r)
		if err != nil {
			answerable(p.logged(r.Context()), s.path, err).write(w, r)
			return
		}
		if s.every > 0 {
			v.Live = v.base + "/live" + r.URL.RequestURI()
		}
		v.takeSaid(w, r)
		if err := v.show(w, r, http.StatusOK, t); err != nil {
			p.o.Log.Error("page not shown", "path", r.URL.Path, "err", err)
		}
	})}}
	if s.every > 0 {
		routes = append(routes, Route{"GET /live" + pattern, s.role, p.live(t, s.every, look)})
	}
	return routes
}

// logged is a context by which answerable tells the log.
func (p *Pages) logged(ctx context.Context) context.Context {
	return context.WithValue(ctx, logKey{}, p.o.Log)
}

// action is the route of a form: it does what the form asks for, leads to a
// page, and has that say what was done.
func (p *Pages) action(pattern string, role Role, do func(*http.Request) (to string, said text, err error)) Route {
	return Route{"POST " + pattern, role, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		if err := r.ParseForm(); err != nil {
			problem(http.StatusBadRequest, codeInvalid, "this form cannot be read: %v", err).write(w, r)
			return
		}
		ctx, cancel := context.WithTimeout(context.WithValue(r.Context(), viaKey{}, audit.Page), runTime)
		defer cancel()
		to, said, err := do(r.WithContext(ctx))
		if err != nil {
			answerable(p.logged(ctx), pattern, err).write(w, r)
			return
		}
		keepSaid(w, r, said)
		http.Redirect(w, r, baseOf(r)+to, http.StatusSeeOther)
	})}
}

var problemPage = page("problem.html")

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
		problem(http.StatusInternalServerError, codeInternal, "this page cannot be shown, and the log says why").write(w, r)
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
				ParseFS(pageFiles, "pages/layout.html", "pages/parts.html", "pages/"+name))
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

func assetRoutes() (routes []Route) {
	for name, url := range assets {
		routes = append(routes, Route{"GET " + url, "", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, _ := pageFiles.ReadFile("pages/" + name)
			w.Header().Set("Content-Type", mime.TypeByExtension(path.Ext(name)))
			w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
			w.Write(b)
		})})
	}
	// What browsers ask for beside answers that are no page.
	return append(routes, Route{"GET /favicon.ico", "", http.RedirectHandler(assets["icon.svg"], http.StatusFound)})
}
