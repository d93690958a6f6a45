// Package asynqmon serves asynqmon, the web UI of asynq, to users with the right role. Its page loads nothing from
// other sites, shows no private part of a payload, and links back to the pages of tiwsnap. Requests that would block
// Redis or lose tasks are refused.
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

// asynqmonPath is where asynqmon is served. Its own links use this path.
const asynqmonPath = "/asynqmon"

// Pages of asynqmon that some roles do not see, under asynqmonPath.
const (
	schedulersPath = "/schedulers"
	redisPath      = "/redis"
)

const (
	// maxPage bounds the tasks on a page. Without it asynqmon lists all of them for size=-1.
	maxPage = 100
	// maxBulk bounds the tasks that asynqmon may move or delete in one operation. Each operation is one script, which
	// blocks Redis: 10,000 tasks take some 30 ms.
	maxBulk = 10_000
	// maxArchive is how many archived tasks asynq keeps. If more are archived at once, it leaves records that nothing
	// can reach.
	maxArchive = 9_999
	// repairEvery is the shortest time between two searches for stale ids.
	repairEvery = 5 * time.Second
)

// Options are the settings of the UI. Redis is required: a *redis.Client or a *redis.ClusterClient.
type Options struct {
	Redis     redis.UniversalClient
	Namespace keys.Namespace // default: keys.Default
	Base      string         // of its Site
	Log       *slog.Logger   // default: none
}

// UI serves asynqmon under /asynqmon: complete for the role operate, read-only for view. Its page loads nothing from
// other sites and has a strict Content-Security-Policy. It shows payloads without private parts, whole ids, and a link
// back to our pages. Its page of schedulers, which knows only those of asynq, redirects to our schedules.
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

// connOpt gives asynqmon our client. Do not call Close of asynqmon: it would close the client.
type connOpt struct{ rdb redis.UniversalClient }

func (o connOpt) MakeRedisClient() any { return o.rdb }

// New returns the UI of a Redis.
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

// Routes returns the routes of the UI.
func (a *UI) Routes() []web.Route {
	return []web.Route{
		web.Handle("GET "+asynqmonPath+"/", web.RoleView, a.page),
		web.Handle("GET "+asynqmonPath+schedulersPath, web.RoleView,
			http.RedirectHandler(a.o.Base+"/schedules", http.StatusFound).ServeHTTP),
		web.Handle("GET "+asynqmonPath+"/api/", web.RoleView, a.read),
		// These show paths and the version of the server.
		web.Handle("GET "+asynqmonPath+redisPath, web.RoleOperate, a.page),
		web.Handle("GET "+asynqmonPath+"/api/redis_info", web.RoleOperate, a.read),
		web.Handle("POST "+asynqmonPath+"/api/", web.RoleOperate, a.change),
		web.Handle("DELETE "+asynqmonPath+"/api/", web.RoleOperate, a.change),
	}
}

// formatPayload shows the ids of a task. The other fields of a room may be private.
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

// answer is an answer of asynqmon, before it is sent.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }

// ask passes a request to asynqmon, which does not support HEAD.
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

// send sends the answer.
func (a *answer) send(w http.ResponseWriter) {
	w.Header().Set("Content-Length", strconv.Itoa(a.body.Len()))
	w.WriteHeader(a.status)
	w.Write(a.body.Bytes())
}

var (
	// unwanted matches the fonts of Google, without which text has the font of the system. It also matches the
	// manifest, which browsers request without cookies.
	unwanted = regexp.MustCompile(`<link rel="(stylesheet" href="https://[^"]*|manifest" href="[^"]*)"/>`)
	inline   = regexp.MustCompile(`<script>`)
	// shortened is how the script of asynqmon cuts an id: at the first "-", as for UUIDs. Snapshots of the batches
	// monday-1 and monday-2 would look the same.
	shortened    = []byte(`var t=e.indexOf("-");return-1===t?e:e.substr(0,t)`)
	Installation = []byte(`return e`)
)

// backStyle places the link back in the bar of asynqmon, above it and below dialogs, readable on the light and the
// dark bar, and beside the logo on a phone. Long ids wrap.
const backStyle = `.tiwsnap-back{position:fixed;top:16px;right:24px;z-index:1250;padding:0 16px;border-radius:16px;` +
	`background:#0b6a6a;color:#fff;font:600 14px/32px system-ui,sans-serif;text-decoration:none}` +
	`.tiwsnap-back:hover,.tiwsnap-back:focus-visible{outline:2px solid #62c8c2;outline-offset:2px}` +
	`@media(max-width:600px){.tiwsnap-back{top:12px;right:8px;padding:0 8px;font-size:13px}}` +
	`th[scope=row]>div{min-width:12em;overflow-wrap:anywhere}`

// additions returns what is added to the page: a link back, and a style that hides the links to pages that the
// principal may not open.
func (a *UI) additions(who web.Principal, nonce string) string {
	hidden := `a[href$="` + asynqmonPath + schedulersPath + `"]`
	if !who.May(web.RoleOperate) {
		hidden += `,a[href$="` + asynqmonPath + redisPath + `"]`
	}
	return fmt.Sprintf(`<style nonce="%s">%s %s{display:none}</style><a class="tiwsnap-back" href="%s/">← tiwsnap</a>`,
		nonce, backStyle, hidden, a.o.Base)
}

// page answers with the page of asynqmon or one of its files.
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
	// JSS, which makes the styles, reads the nonce there.
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

// zip compresses a file of asynqmon, once.
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

// read answers the GET requests of the page.
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
			a.o.Log.Warn("a new queue is not registered with asynq", "err", err)
		case known:
			got = a.ask(r)
		}
	}
	if got.status == http.StatusInternalServerError && strings.HasPrefix(r.URL.Path, asynqmonPath+"/api/queues") {
		// asynq fails to count the memory of a queue that has the id of a deleted task. See
		// https://github.com/hibiken/asynq/issues/1146.
		switch n, err := a.dropStale(r.Context()); {
		case err != nil:
			a.o.Log.Warn("ids of deleted tasks not removed", "err", err)
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
		fmt.Fprintf(&got.body, "Task %s is not on queue %s: asynq deletes finished tasks. Its result is at %s",
			m[2], m[1], a.o.Base+place)
	}
	if err := a.own(r, got); err != nil {
		http.Error(w, "unexpected answer of asynqmon: "+err.Error(), http.StatusBadGateway)
		return
	}
	if got.status == http.StatusOK {
		w.Header().Set("Content-Type", "application/json")
	} else {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	}
	got.send(w)
}

// oneTask matches the request for a task.
var oneTask = regexp.MustCompile(`^` + asynqmonPath + `/api/queues/([^/]+)/tasks/(.+)$`)

// registerServed registers the queue of a request with asynq, if a server serves it and nothing has been on it yet.
// Otherwise the link on the page of servers would lead to an error. It reports whether the queue is new.
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

// dropStale removes the ids of deleted tasks from all queues, and returns how many there were.
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
			a.o.Log.Warn("removed the id of a deleted task", "queue", queue, "state", state, "id", id)
			n++
		})
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// refuse answers a request for a queue of another namespace.
func (a *UI) refuse(w http.ResponseWriter, queue string) {
	http.Error(w, fmt.Sprintf("namespace %s has no queue %q", a.o.Namespace, queue), http.StatusNotFound)
}

// bulk matches operations on all tasks of a queue in a state.
var bulk = regexp.MustCompile(`^` + asynqmonPath + `/api/queues/([^/]+)/(?:groups/[^/]+/)?` +
	`(active|pending|scheduled|retry|archived|completed|aggregating)_tasks:(archive|delete|run|cancel)_all$`)

// change passes on an operation, unless it would do harm.
func (a *UI) change(w http.ResponseWriter, r *http.Request) {
	if queue, foreign := a.foreignQueue(r); foreign {
		a.refuse(w, queue)
		return
	}
	if m := bulk.FindStringSubmatch(r.URL.Path); m != nil {
		if err := a.checkBulk(r.Context(), m[1], m[2], m[3]); err != nil {
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

// checkBulk returns why an operation on all tasks in a state must not run.
func (a *UI) checkBulk(ctx context.Context, queue, state, operation string) error {
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
		return fmt.Errorf("refused: the tasks cannot be counted: %w", err)
	}
	n := map[string]int{
		"active": info.Active, "pending": info.Pending, "scheduled": info.Scheduled, "retry": info.Retry,
		"archived": info.Archived, "completed": info.Completed, "aggregating": info.Aggregating,
	}[state]
	switch {
	case n > maxBulk:
		return fmt.Errorf("refused: %d %s tasks at once would block Redis; at most %d are allowed. "+
			"To stop batches use tiwsnap pause or cancel", n, state, maxBulk)
	case operation == "archive" && info.Archived+n > maxArchive:
		return fmt.Errorf("refused: asynq keeps %d archived tasks and has %d; "+
			"archiving %d more would lose the oldest",
			maxArchive, info.Archived, n)
	}
	return nil
}
