// Package health serves the probes of a process: /livez, and /readyz, which checks that Redis can take work.
package health

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/enqueue"
	"tiwsnap/internal/asynqx"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/rdb"
	"tiwsnap/web"
)

const (
	// readyTime bounds the check of readyz, and readyFor is how long its result is reused.
	readyTime = 2 * time.Second
	readyFor  = time.Second
)

// Routes returns the probes of a process. They are open to anyone, as probes have no tokens, and reveal nothing
// private.
func Routes(redis redis.UniversalClient, ns keys.Namespace) []web.Route {
	ready := &readiness{redis: redis, ns: ns}
	return []web.Route{
		web.Handle("GET /livez", "", livez),
		web.Handle("GET /readyz", "", ready.serve),
	}
}

// livez answers as long as the process lives.
func livez(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") }

// Check is a condition for taking work. Whether sending is stopped does not count: then the pages are needed most.
type Check struct {
	Name   string `json:"name"` // redis, memory or policy
	OK     bool   `json:"ok"`
	Reason string `json:"reason,omitempty"` // where it is not
}

// readiness checks at most once a second, for all clients.
type readiness struct {
	redis  redis.UniversalClient
	ns     keys.Namespace
	mu     sync.Mutex
	at     time.Time
	checks []Check
}

func (r *readiness) serve(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	if time.Since(r.at) > readyFor {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(req.Context()), readyTime)
		r.checks, r.at = check(ctx, r.redis, r.ns), time.Now()
		cancel()
	}
	checks := r.checks
	r.mu.Unlock()
	status := http.StatusOK
	for _, c := range checks {
		if !c.OK {
			status = http.StatusServiceUnavailable
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"ready": status == http.StatusOK, "checks": checks})
}

// ProbeKeys returns keys for rdb.Probe, one in each part of Redis that a namespace uses.
func ProbeKeys(ns keys.Namespace) []string {
	all := []string{ns.Probe()}
	for _, queue := range ns.Queues() {
		all = append(all, asynqx.Prefix(queue)+"probe")
	}
	return all
}

// check checks Redis. What INFO does not tell counts as in order.
func check(ctx context.Context, client redis.UniversalClient, ns keys.Namespace) []Check {
	reasons := map[string]string{}
	var refusal redis.Error
	switch err := rdb.Probe(ctx, client, "", ProbeKeys(ns)...); {
	case errors.As(err, &refusal): // which may say where Redis is
		return []Check{{Name: "redis", Reason: "refuses to serve; fix: " + rdb.Fix(err)}}
	case err != nil:
		return []Check{{Name: "redis", Reason: "does not answer"}}
	}
	servers, err := rdb.Servers(ctx, client, "memory")
	if err != nil && !errors.As(err, &refusal) {
		return []Check{{Name: "redis", Reason: "does not answer"}}
	}
	for _, s := range servers {
		if err := s.CheckPolicy(); err != nil {
			reasons["policy"] = fmt.Sprintf("maxmemory-policy is %s: %s", s.Policy, rdb.EvictionFix)
		}
		if m := s.Memory; m != nil && m.Max > 0 && float64(m.Used) > enqueue.AdmitUpTo*float64(m.Max) {
			reasons["memory"] = fmt.Sprintf("%d %% of maxmemory in use: beyond %.0f %% new work is refused",
				100*m.Used/m.Max, 100*enqueue.AdmitUpTo)
		}
	}
	var all []Check
	for _, name := range []string{"redis", "memory", "policy"} {
		all = append(all, Check{name, reasons[name] == "", reasons[name]})
	}
	return all
}
