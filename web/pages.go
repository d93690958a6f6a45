package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"mime"
	"net/http"
	"path"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/ledger"
	"tiwsnap/ratelimit"
)

// The pages. Each has a Go file here (page_NAME.go), with its routes and what
// it shows, and a template in pages/, which fills in the layout.
//
//go:embed pages
var pageFiles embed.FS

// PagesOptions are the settings of the pages. Auth and Redis are required.
type PagesOptions struct {
	Auth  *Auth
	Redis redis.UniversalClient
	// Limiter is that of CreateSnapshotTask; nil where no worker runs in this
	// process.
	Limiter *ratelimit.Limiter
	Log     *slog.Logger // default: none
}

// Pages are what people see in a browser.
type Pages struct {
	o        PagesOptions
	overview *overviewReader
	streams  slots // to open pages
	refused  seldom
	closing  sync.Once
	closed   chan struct{}
}

// NewPages returns the pages. It does not touch Redis.
func NewPages(o PagesOptions) *Pages {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Pages{
		o: o, overview: newOverviewReader(o), closed: make(chan struct{}),
		refused: newSeldom(),
		streams: slots{what: "pages are open", all: maxLive, own: maxOwnLive, retry: 10 * time.Second},
	}
}

// Routes returns the routes of all pages. A new page is a line here.
func (p *Pages) Routes() []Route {
	return slices.Concat(
		assetRoutes(),
		p.loginRoutes(),
		p.overviewRoutes(),
	)
}

// view is what the layout shows.
type view struct {
	Title string
	Who   Principal // nobody where the name is empty
	Login bool      // there is a session to end
	Data  any       // of the page
}

var problemPage = page("problem.html")

// show answers with a page.
func (p *Pages) show(w http.ResponseWriter, r *http.Request, status int, t *template.Template, title string, data any) {
	if err := show(w, r, status, t, title, data); err != nil {
		p.o.Log.Error("page not shown", "path", r.URL.Path, "err", err)
	}
}

// show answers with a page. The error is that of its template, and has been
// answered.
func show(w http.ResponseWriter, r *http.Request, status int, t *template.Template, title string, data any) error {
	who := PrincipalOf(r.Context())
	var b bytes.Buffer
	if err := t.Execute(&b, view{title, who, who.session, data}); err != nil {
		r.Header.Del("Accept") // of another page it would be the same
		problem(http.StatusInternalServerError, codeInternal, "this page cannot be shown, and the log says why").write(w, r)
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	w.Write(b.Bytes())
	return nil
}

// page reads the template of a page and puts it into the layout.
func page(name string) *template.Template {
	return template.Must(template.New("layout.html").Funcs(words).
		ParseFS(pageFiles, "pages/layout.html", "pages/"+name))
}

// words are what templates say numbers and times with.
var words = template.FuncMap{
	"asset":   func(name string) string { return assets[name] },
	"count":   count,
	"left":    left,
	"clock":   func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") },
	"iso":     func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"took":    func(b ledger.Batch) string { return left(b.EndedAt.Sub(b.CreatedAt)) },
	"percent": func(n, of int) string { return strconv.FormatFloat(100*float64(n)/float64(max(of, 1)), 'f', 2, 64) },
	"plus": func(all ...int) (sum int) {
		for _, n := range all {
			sum += n
		}
		return
	},
}

// count writes a number with its thousands apart.
func count(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// left writes a time as people say it.
func left(d time.Duration) string {
	switch d = max(d, 0).Round(time.Second); {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min %02d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %02d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d days", int(d.Hours())/24)
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
