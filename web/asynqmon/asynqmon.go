// Package asynqmon serves asynqmon, the web UI of asynq, with our roles. Its page loads nothing from other sites, shows
// no private part of a payload, and links back to our pages. Requests that would stop Redis or lose tasks are refused.
package asynqmon

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/hibiken/asynqmon"
	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/asynqx"
	"tiwsnap/internal/keys"
	"tiwsnap/tasks"
	"tiwsnap/web"
)

// asynqmonPath is where asynqmon lives. It calls itself by this path.
const asynqmonPath = "/asynqmon"

// Pages of asynqmon that not everybody is offered, under asynqmonPath.
const (
	schedulersPath = "/schedulers"
	redisPath      = "/redis"
)

const (
	// maxPage is how many tasks asynqmon lists at a time. Left to itself it
	// lists all of them for size=-1.
	maxPage = 100
	// maxBulk is how many tasks may be in a state for asynqmon to move or
	// delete all of them: each such operation is one script, during which
	// Redis serves nobody. 10,000 take some 30 ms.
	maxBulk = 10_000
	// maxArchive is how many archived tasks asynq keeps. From what is archived
	// all at once beyond that it leaves records that nobody can reach.
	maxArchive = 9_999
	// repairEvery is the least time between two looks for stale ids.
	repairEvery = 5 * time.Second
)

// AsynqmonOptions are the settings of asynqmon. Redis is required: a
// *redis.Client or a *redis.ClusterClient.
type Options struct {
	Redis     redis.UniversalClient
	Namespace keys.Namespace // default: keys.Default
	Base      string         // of its Site
	Log       *slog.Logger   // default: none
}

// Asynqmon serves asynqmon, asynq's own page, under /asynqmon: as it is for
// those who may operate, and for those who may view with its switches off. Its
// page loads nothing from outside and fits a strict policy; payloads are shown
// without what may be private, ids are whole, and a link leads back to our
// pages. Its page of schedulers, which knows asynq's own alone, gives way to
// ours of schedules.
type UI struct {
	o         Options
	inspector *asynq.Inspector
	operate   http.Handler
	view      http.Handler

	repairing sync.Mutex
	repaired  time.Time // the last look for stale ids

	zipping sync.Mutex
	zipped  map[string][]byte // files of asynqmon's, by path
}

// connOpt gives asynqmon our client. Nobody may call asynqmon's Close, which
// would close it.
type connOpt struct{ rdb redis.UniversalClient }

func (o connOpt) MakeRedisClient() any { return o.rdb }

// NewAsynqmon returns asynqmon on a Redis.
func New(o Options) *UI {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	handler := func(readOnly bool) http.Handler {
		return asynqmon.New(asynqmon.Options{
			RootPath:         o.Base + asynqmonPath,
			RedisConnOpt:     connOpt{o.Redis},
			PayloadFormatter: asynqmon.PayloadFormatterFunc(formatPayload),
			ResultFormatter:  asynqmon.ResultFormatterFunc(func(string, []byte) string { return "" }),
			ReadOnly:         readOnly,
		})
	}
	return &UI{
		o: o, inspector: asynq.NewInspectorFromRedisClient(o.Redis),
		operate: handler(false), view: handler(true), zipped: map[string][]byte{},
	}
}

// Routes returns the routes of asynqmon.
func (a *UI) Routes() []web.Route {
	return []web.Route{
		web.Handle("GET "+asynqmonPath+"/", web.RoleView, a.page),
		web.Handle("GET "+asynqmonPath+schedulersPath, web.RoleView,
			http.RedirectHandler(a.o.Base+"/schedules", http.StatusFound).ServeHTTP),
		web.Handle("GET "+asynqmonPath+"/api/", web.RoleView, a.read),
		// They tell the paths and the version of the server.
		web.Handle("GET "+asynqmonPath+redisPath, web.RoleOperate, a.page),
		web.Handle("GET "+asynqmonPath+"/api/redis_info", web.RoleOperate, a.read),
		web.Handle("POST "+asynqmonPath+"/api/", web.RoleOperate, a.change),
		web.Handle("DELETE "+asynqmonPath+"/api/", web.RoleOperate, a.change),
	}
}

// formatPayload shows what a task is about: the other fields of a room may be
// private to the customer.
func formatPayload(kind string, payload []byte) string {
	var about any
	switch kind {
	case tasks.TypeSnapshot:
		p, err := tasks.ParseSnapshot(payload)
		if err != nil {
			return "not a payload of this release"
		}
		about = struct {
			ID       string `json:"id"`
			Batch    string `json:"batch,omitempty"`
			SdkAppId uint64
			RoomId   uint64
		}{p.ID, p.Batch, p.Room.SdkAppId, p.Room.RoomId}
	case tasks.TypeNotify:
		p, err := tasks.ParseNotify(payload)
		if err != nil {
			return "not a payload of this release"
		}
		about = struct {
			Type string `json:"type"`
			Ref  string `json:"ref"`
		}{p.Type, p.Ref}
	default:
		return "not shown"
	}
	b, err := json.Marshal(about)
	if err != nil {
		return "not shown"
	}
	return string(b)
}

// answer is what a handler of asynqmon says, before it is passed on.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }

// ask gives a request to asynqmon. It knows no HEAD.
func (a *UI) ask(r *http.Request) *answer {
	handler := a.view
	if web.PrincipalOf(r.Context()).May(web.RoleOperate) {
		handler = a.operate
	}
	r = r.Clone(r.Context())
	if r.Method == http.MethodHead {
		r.Method = http.MethodGet
	}
	if r.URL.Path = a.o.Base + r.URL.Path; r.URL.RawPath != "" {
		r.URL.RawPath = a.o.Base + r.URL.RawPath
	}
	got := &answer{header: http.Header{}, status: http.StatusOK}
	handler.ServeHTTP(got, r)
	return got
}

// send passes an answer on.
func (a *answer) send(w http.ResponseWriter) {
	w.Header().Set("Content-Length", strconv.Itoa(a.body.Len()))
	w.WriteHeader(a.status)
	w.Write(a.body.Bytes())
}

var (
	// unwanted matches what the page loads from other sites, Google's fonts:
	// without them text has the font of the system, and its icons are drawn. And
	// the manifest, which browsers ask for without their cookies.
	unwanted = regexp.MustCompile(`<link rel="(stylesheet" href="https://[^"]*|manifest" href="[^"]*)"/>`)
	inline   = regexp.MustCompile(`<script>`)
	// shortened is how asynqmon's script leaves an id: up to the first "-", as
	// for UUIDs. Two snapshots of batches monday-1 and monday-2 look the same.
	shortened    = []byte(`var t=e.indexOf("-");return-1===t?e:e.substr(0,t)`)
	Installation = []byte(`return e`)
)

// backStyle places the link back into asynqmon's bar, above it and below
// dialogs, readable on the light bar and the dark, and beside the logo on a
// phone. Long ids wrap.
const backStyle = `.tiwsnap-back{position:fixed;top:16px;right:24px;z-index:1250;padding:0 16px;border-radius:16px;` +
	`background:#0b6a6a;color:#fff;font:600 14px/32px system-ui,sans-serif;text-decoration:none}` +
	`.tiwsnap-back:hover,.tiwsnap-back:focus-visible{outline:2px solid #62c8c2;outline-offset:2px}` +
	`@media(max-width:600px){.tiwsnap-back{top:12px;right:8px;padding:0 8px;font-size:13px}}` +
	`th[scope=row]>div{min-width:12em;overflow-wrap:anywhere}`

// additions are what asynqmon's page has from us at the begin of its body: a
// link back, and a style that hides the pages that the principal is not offered.
func (a *UI) additions(who web.Principal, nonce string) string {
	hidden := `a[href$="` + asynqmonPath + schedulersPath + `"]`
	if !who.May(web.RoleOperate) {
		hidden += `,a[href$="` + asynqmonPath + redisPath + `"]`
	}
	return fmt.Sprintf(`<style nonce="%s">%s %s{display:none}</style><a class="tiwsnap-back" href="%s/">← tiwsnap</a>`,
		nonce, backStyle, hidden, a.o.Base)
}

// page answers with asynqmon's page or one of the files that it loads.
func (a *UI) page(w http.ResponseWriter, r *http.Request) {
	got := a.ask(r)
	kind := got.header.Get("Content-Type")
	if html := bytes.HasPrefix(got.body.Bytes(), []byte("<!doctype html>")); !html {
		w.Header().Set("Content-Type", kind)
		if strings.HasPrefix(r.URL.Path, asynqmonPath+"/static/js/main.") {
			got.body = *bytes.NewBuffer(bytes.Replace(got.body.Bytes(), shortened, Installation, 1))
		}
		if strings.HasPrefix(r.URL.Path, asynqmonPath+"/static/") { // named after their content
			w.Header().Set("Cache-Control", "private, max-age=31536000, immutable")
		}
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") && strings.HasSuffix(r.URL.Path, ".js") {
			w.Header().Set("Content-Encoding", "gzip")
			got.body = *bytes.NewBuffer(a.zip(r.URL.Path, got.body.Bytes()))
		}
		w.Header().Set("Vary", "Accept-Encoding")
		got.send(w)
		return
	}
	nonce := rand.Text()
	page := unwanted.ReplaceAll(got.body.Bytes(), nil)
	page = inline.ReplaceAll(page, []byte(`<script nonce="`+nonce+`">`))
	// JSS, which makes its styles, takes the nonce from there.
	page = bytes.Replace(page, []byte("<head>"), []byte(`<head><meta property="csp-nonce" content="`+nonce+`"/>`), 1)
	added := a.additions(web.PrincipalOf(r.Context()), nonce)
	page = bytes.Replace(page, []byte("<body>"), []byte("<body>"+added), 1)
	got.body = *bytes.NewBuffer(page)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy",
		"default-src 'none'; script-src 'self' 'nonce-"+nonce+"'; style-src 'self' 'nonce-"+nonce+"'; "+
			"img-src 'self'; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'")
	got.send(w)
}

// zip compresses a file of asynqmon's, once.
func (a *UI) zip(path string, b []byte) []byte {
	a.zipping.Lock()
	defer a.zipping.Unlock()
	if a.zipped[path] == nil { // there are as many as asynqmon has files
		var out bytes.Buffer
		z := gzip.NewWriter(&out)
		z.Write(b) // a bytes.Buffer takes everything
		z.Close()
		a.zipped[path] = out.Bytes()
	}
	return a.zipped[path]
}

// read answers what the page asks for.
func (a *UI) read(w http.ResponseWriter, r *http.Request) {
	if queue, foreign := a.foreignQueue(r); foreign {
		a.refuse(w, queue)
		return
	}
	q := r.URL.Query()
	for name, most := range map[string]int{"size": maxPage, "page": 1 << 30} {
		if q.Has(name) {
			n, _ := strconv.Atoi(q.Get(name))
			q.Set(name, strconv.Itoa(min(max(n, 1), most)))
		}
	}
	clamped := *r.URL
	clamped.RawQuery = q.Encode()
	r = r.Clone(r.Context())
	r.URL = &clamped

	got := a.ask(r)
	if got.status != http.StatusOK {
		switch known, err := a.registerServed(r); {
		case err != nil:
			a.o.Log.Warn("a queue that nothing has been on not made known to asynq", "err", err)
		case known:
			got = a.ask(r)
		}
	}
	if got.status == http.StatusInternalServerError && strings.HasPrefix(r.URL.Path, asynqmonPath+"/api/queues") {
		// asynq cannot count the memory of a queue that has an id without its
		// task. See https://github.com/hibiken/asynq/issues/1146.
		switch n, err := a.dropStale(r.Context()); {
		case err != nil:
			a.o.Log.Warn("ids of tasks that are gone not dropped", "err", err)
		case n > 0:
			got = a.ask(r)
		}
	}
	if m := oneTask.FindStringSubmatch(r.URL.Path); m != nil && got.status == http.StatusNotFound {
		place := "/find?q=" + url.QueryEscape(m[2])
		if m[1] == a.o.Namespace.QueueWebhooks() {
			place = "/webhooks"
		}
		// The page shows the text as it is.
		got.body.Reset()
		fmt.Fprintf(&got.body, "Task %s is not on queue %s: asynq drops what is done. What became of it is at %s",
			m[2], m[1], a.o.Base+place)
	}
	if err := a.own(r, got); err != nil {
		http.Error(w, "asynqmon has answered otherwise than expected: "+err.Error(), http.StatusBadGateway)
		return
	}
	if got.status == http.StatusOK {
		w.Header().Set("Content-Type", "application/json")
	} else {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	}
	got.send(w)
}

// oneTask matches what the page of a task asks for.
var oneTask = regexp.MustCompile(`^` + asynqmonPath + `/api/queues/([^/]+)/tasks/(.+)$`)

// registerServed makes the queue that a request is about known to asynq, if a
// server serves it and nothing has been on it yet: the page of servers links to
// its page, which would be an error. It reports whether the queue is new.
func (a *UI) registerServed(r *http.Request) (bool, error) {
	queue, ok := queueOf(r)
	if !ok {
		return false, nil
	}
	servers, err := a.inspector.Servers()
	if err != nil {
		return false, err
	}
	if !slices.ContainsFunc(servers, func(s *asynq.ServerInfo) bool { return s.Queues[queue] > 0 }) {
		return false, nil
	}
	return asynqx.Register(r.Context(), a.o.Redis, queue)
}

// dropStale takes the ids of tasks that do not exist out of all queues, and
// returns how many there were.
func (a *UI) dropStale(ctx context.Context) (n int, err error) {
	a.repairing.Lock()
	defer a.repairing.Unlock()
	if time.Since(a.repaired) < repairEvery {
		return 0, nil
	}
	defer func() { a.repaired = time.Now() }()
	ctx, cancel := context.WithTimeout(ctx, repairEvery)
	defer cancel()
	queues, err := a.inspector.Queues()
	if err != nil {
		return 0, err
	}
	for _, queue := range queues {
		err := asynqx.DropStale(ctx, a.o.Redis, queue, func(state, id string) {
			a.o.Log.Warn("asynq had the id of a task that is gone: dropped", "queue", queue, "state", state, "id", id)
			n++
		})
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// refuse answers about a queue that is none of the namespace.
func (a *UI) refuse(w http.ResponseWriter, queue string) {
	http.Error(w, fmt.Sprintf("namespace %s has no queue %q", a.o.Namespace, queue), http.StatusNotFound)
}

// bulk matches the operations on all tasks of a state of a queue.
var bulk = regexp.MustCompile(`^` + asynqmonPath + `/api/queues/([^/]+)/(?:groups/[^/]+/)?` +
	`(active|pending|scheduled|retry|archived|completed|aggregating)_tasks:(archive|delete|run|cancel)_all$`)

// change does what the page is told to do, unless that would do harm.
func (a *UI) change(w http.ResponseWriter, r *http.Request) {
	if queue, foreign := a.foreignQueue(r); foreign {
		a.refuse(w, queue)
		return
	}
	if m := bulk.FindStringSubmatch(r.URL.Path); m != nil {
		if err := a.mayAll(r.Context(), m[1], m[2], m[3]); err != nil {
			// The page shows the text as it is.
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
	}
	got := a.ask(r)
	if kind := got.header.Get("Content-Type"); kind != "" {
		w.Header().Set("Content-Type", kind)
	} else if got.body.Len() > 0 {
		w.Header().Set("Content-Type", "application/json")
	}
	got.send(w)
}

// mayAll returns why an operation on all tasks of a state must not be done.
func (a *UI) mayAll(ctx context.Context, queue, state, operation string) error {
	info, err := a.inspector.GetQueueInfo(queue)
	if errors.Is(err, asynq.ErrQueueNotFound) {
		return err
	}
	if err != nil {
		if n, _ := a.dropStale(ctx); n > 0 {
			info, err = a.inspector.GetQueueInfo(queue)
		}
	}
	if err != nil {
		return fmt.Errorf("not done: how many tasks there are cannot be told: %w", err)
	}
	n := map[string]int{
		"active": info.Active, "pending": info.Pending, "scheduled": info.Scheduled, "retry": info.Retry,
		"archived": info.Archived, "completed": info.Completed, "aggregating": info.Aggregating,
	}[state]
	switch {
	case n > maxBulk:
		return fmt.Errorf("not done: %d %s tasks at once would stop Redis for everybody; up to %d may be. "+
			"To stop batches use tiwsnap pause or cancel", n, state, maxBulk)
	case operation == "archive" && info.Archived+n > maxArchive:
		return fmt.Errorf("not done: asynq keeps %d archived tasks and %d are there already; "+
			"archiving %d more would lose the oldest",
			maxArchive, info.Archived, n)
	}
	return nil
}
