package pages

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"tiwsnap/internal/audit"
	"tiwsnap/internal/rdb"
	"tiwsnap/internal/roster"
	"tiwsnap/ratelimit"
	"tiwsnap/web"
	"tiwsnap/web/api"
)

var (
	limitPage   = page("limit.html")
	workersPage = page("workers.html")
	redisPage   = page("redis.html")
	auditPage   = page("audit.html")
)

// limitData is the data of the page of the rate limit.
type limitData struct {
	Known    bool // to this process
	State    ratelimit.State
	Limits   []api.Limit
	Troubles []trouble
	Chart    chart
	Changes  []audit.Entry
}

// workersData is the data of the page of the workers.
type workersData struct {
	Workers []roster.Worker
	Differ  []string
	Servers int // that asynq knows
}

// auditData is the data of the page of the audit log.
type auditData struct {
	Entries []audit.Entry
	Next    string
}

// systemRoutes returns the pages of rate limit, workers, Redis and audit log.
func (p *Pages) systemRoutes() []web.Route {
	routes := p.screen(limitPage,
		screen{path: "/limit", role: web.RoleView, nav: "limit", every: 2 * time.Second, read: p.readLimit})
	routes = append(routes, p.screen(workersPage, screen{
		path: "/workers", role: web.RoleView, nav: "workers", every: 5 * time.Second,
		read: func(r *http.Request) (string, any, error) {
			out, err := p.api.ListWorkers(r.Context(), nil)
			if err != nil {
				return "", nil, err
			}
			return langOf(r).say("nav.workers"), workersData{Workers: out.Body.Workers, Differ: out.Body.Differ}, nil
		},
	})...)
	routes = append(routes, p.screen(redisPage, screen{
		path: "/redis", role: web.RoleView, nav: "redis", every: 5 * time.Second,
		read: func(r *http.Request) (string, any, error) {
			out, err := p.api.GetRedis(r.Context(), nil)
			if err != nil {
				return "", nil, err
			}
			d := redisData{*out, redisTroubles(rdb.Servers(r.Context(), p.api.Redis, "memory", "persistence"))}
			return "Redis", d, nil
		},
	})...)
	routes = append(routes, p.screen(auditPage, screen{
		path: "/audit", role: web.RoleView, nav: "audit",
		read: func(r *http.Request) (string, any, error) {
			out, err := p.api.ListAudit(r.Context(), &api.AuditInput{Limit: 100, Cursor: r.URL.Query().Get("cursor")})
			if err != nil {
				return "", nil, err
			}
			return langOf(r).say("nav.audit"), auditData{out.Body.Entries, out.Body.Next}, nil
		},
	})...)
	return append(routes, p.action("/limit", web.RoleOperate, func(r *http.Request) (string, text, error) {
		n := 0
		if r.PostFormValue("default") == "" {
			var err error
			if n, err = strconv.Atoi(r.PostFormValue("limit")); err != nil || n < 1 || n > ratelimit.MaxLimit {
				return "", text{}, web.Invalid("limit", "must be a whole number from 1 to "+count(ratelimit.MaxLimit))
			}
		}
		if _, err := p.api.SetLimit(r.Context(), &api.SetLimitInput{Limit: n}); err != nil {
			return "", text{}, err
		}
		if n == 0 {
			return "/limit", say("said.limit.default"), nil
		}
		return "/limit", say("said.limit", n), nil
	}))
}

// redisData is the data of the page of Redis.
type redisData struct {
	api.RedisOutput
	Troubles []trouble
}

// totalsOrder lists the counters of the namespace in groups. The most important group and counter come first.
var totalsOrder = []totalsGroup{
	{"now", []string{"waiting", "waiting_paused", "images_pending"}},
	{"snapshots", []string{
		"succeeded", "no_image", "failed", "canceled", "unknown", "possible_duplicates", "extra_tasks",
	}},
	{"images", []string{"images", "images_copied", "missing_images", "images_lost"}},
	{"requests", []string{"sending", "accepted", "queued"}},
	{"records", []string{"packed", "packed_bytes"}},
}

// totalsGroup is the names of some counters, under a heading.
type totalsGroup struct {
	Name     string
	Counters []string
}

// Key returns the key of its heading.
func (g totalsGroup) Key() string { return "totals." + g.Name }

// Totals returns the counters that exist, in groups. Counters of another version come last.
func (d redisData) Totals() (all []totalsGroup) {
	other := maps.Clone(d.Body.Totals)
	for _, g := range totalsOrder {
		found := totalsGroup{Name: g.Name}
		for _, name := range g.Counters {
			if _, ok := other[name]; ok {
				found.Counters = append(found.Counters, name)
				delete(other, name)
			}
		}
		if found.Counters != nil {
			all = append(all, found)
		}
	}
	if len(other) > 0 {
		all = append(all, totalsGroup{"other", slices.Sorted(maps.Keys(other))})
	}
	return all
}

// limitChanges is how many entries of the audit log the page of the rate limit searches.
const limitChanges = 500

func (p *Pages) readLimit(r *http.Request) (string, any, error) {
	ctx := r.Context()
	d := limitData{}
	if l := p.api.Limiter; l != nil {
		var err error
		if d.State, err = l.State(ctx); err != nil {
			return "", nil, err
		}
		d.Known, d.Troubles = true, limitTroubles(d.State)
		if d.Chart, err = chartOf(p.api, r); err != nil {
			return "", nil, err
		}
		if d.Limits, err = p.api.Limits(ctx); err != nil {
			return "", nil, err
		}
	}
	all, _, err := audit.New(p.api.Redis, p.api.Namespace).Page(ctx, "", limitChanges)
	if err != nil && !errors.Is(err, audit.ErrCursor) {
		return "", nil, err
	}
	for _, e := range all {
		if e.Action == "set-limit" && len(d.Changes) < 20 {
			d.Changes = append(d.Changes, e)
		}
	}
	return langOf(r).say("nav.limit"), d, nil
}
