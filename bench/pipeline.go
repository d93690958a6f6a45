package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"tiwsnap/ledger"
	"tiwsnap/tiw/tiwtest"
)

// uncapped is the highest rate limit that a worker accepts.
const uncapped = 10_000

// pipeline measures the throughput of everything except Tencent: backlog, asynq, limiter, ledger and confirmation, with
// an API that answers at once.
func pipeline(ctx context.Context, r *recorder) error {
	for _, procs := range []int{1, 2} {
		if err := pipelineBy(ctx, r, procs); err != nil {
			return err
		}
	}
	return nil
}

func pipelineBy(ctx context.Context, r *recorder, procs int) (err error) {
	const (
		rooms   = 200_000
		warm    = 3 * time.Second
		watched = 15 * time.Second
	)
	name := processes(procs)
	api, err := newNoop()
	if err != nil {
		return err
	}
	defer api.close()
	s, err := r.newRedis(name, "TIWSNAP_TIW_ENDPOINT="+api.url, fmt.Sprint("TIWSNAP_RATE_LIMIT=", uncapped))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.startWorkers(ctx, procs); err != nil {
		return err
	}
	if err := s.batch(ctx, "pipeline", firstRoom, rooms); err != nil {
		return err
	}
	if !pause(ctx, warm) {
		return ctx.Err()
	}
	type mark struct {
		ended         int
		created       int64
		redis, worker time.Duration
	}
	sample := func() (m mark, err error) {
		b, err := ledger.New(s.DB, ledger.Options{}).Batch(ctx, "pipeline")
		if err != nil {
			return m, err
		}
		m.ended, m.created = b.Done(), api.created.Load()
		if m.redis, err = redisCPU(ctx, s.DB); err != nil {
			return m, err
		}
		m.worker, err = s.workersCPU()
		return m, err
	}
	before, err := sample()
	if err != nil {
		return err
	}
	from := time.Now()
	if !pause(ctx, watched) {
		return ctx.Err()
	}
	after, err := sample()
	if err != nil {
		return err
	}
	took := time.Since(from).Seconds()

	ended := float64(after.ended - before.ended)
	r.add(name+": snapshots created and confirmed", ended/took, "/s", atLeast(2000))
	r.add(name+": requests to create", float64(after.created-before.created)/took, "/s", noTarget)
	if ended > 0 {
		r.add(name+": the workers' processor time a snapshot", milliseconds(after.worker-before.worker)/ended, "ms", noTarget)
		r.add(name+": Redis' processor time a snapshot", milliseconds(after.redis-before.redis)/ended, "ms", noTarget)
	}
	if n := api.twice.Load(); n > 0 {
		r.broken("%s: rooms with two tasks: %d", name, n)
	}
	return nil
}

// noop is an API that answers at once and checks neither signatures nor quotas, to take little of the machine.
type noop struct {
	url     string
	server  *http.Server
	created atomic.Int64
	twice   atomic.Int64

	mu   sync.Mutex
	seen map[uint64]bool
}

func newNoop() (*noop, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	n := &noop{url: "http://" + l.Addr().String(), seen: make(map[uint64]bool)}
	n.server = &http.Server{Handler: n, ReadHeaderTimeout: 10 * time.Second}
	go n.server.Serve(l)
	return n, nil
}

func (n *noop) close() { n.server.Close() }

func (n *noop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body struct {
		RoomId uint64
		TaskID string
	}
	if err := json.NewDecoder(io.LimitReader(r.Body, 64<<10)).Decode(&body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if r.Header.Get("X-TC-Action") != tiwtest.ActionCreate {
		fmt.Fprintf(w, `{"Response":{"TaskID":%q,"Status":"Finished","CreateTime":1,"FinishTime":2,`+
			`"Result":{"ErrorCode":"OK","Total":1,"Snapshots":["%s/images/1.png"]},"RequestId":"r"}}`, body.TaskID, n.url)
		return
	}
	n.created.Add(1)
	n.mu.Lock()
	if n.seen[body.RoomId] {
		n.twice.Add(1)
	}
	n.seen[body.RoomId] = true
	n.mu.Unlock()
	fmt.Fprintf(w, `{"Response":{"TaskID":"task-%d","RequestId":"r"}}`, body.RoomId)
}
