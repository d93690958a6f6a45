package gate

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/ratelimit"
	"tiwsnap/tiw"
)

// Permit allows one call.
type Permit struct {
	gate     *Gate
	rate     *ratelimit.Permit
	action   string
	pass     string
	snapshot string
	app      uint64
	appTrial bool // of a suspended application
	done     bool
	reported *redis.Cmd // by Report
}

// NoPass is the pass of a caller without a permit. It is never valid.
const NoPass = "-"

// Pass returns the pass under which the intent is written. While the breaker is not
// closed, only the newest pass is valid. A nil permit has NoPass.
func (p *Permit) Pass() string {
	if p == nil {
		return NoPass
	}
	return p.pass
}

// Context returns the context for the call.
func (p *Permit) Context(ctx context.Context) context.Context {
	return tiw.WithGate(ctx, p.rate.Use, p.rate.Sent)
}

// Verdict says whom the outcome of a call concerns.
type Verdict string

// The verdicts.
const (
	Room      Verdict = "room"       // a failure counts against its attempts
	Everybody Verdict = "everybody"  // it costs the room nothing
	RoomAlone Verdict = "room alone" // a code of the account while other rooms are accepted: the room fails with it
)

// doneTime bounds the report of an outcome.
const doneTime = 5 * time.Second

// Done reports the outcome of the call, err or the TaskID of a Create, and releases
// the permit. If Redis does not take the report, the verdict is Everybody: then the
// room pays nothing.
func (p *Permit) Done(ctx context.Context, taskID string, err error) Verdict {
	defer p.Release()
	out, e := outcomeOf(taskID, err)
	if out == "none" {
		return Everybody // Release reports it
	}
	if out == "gateway" && e.Class == tiw.Throttled {
		p.rate.Throttled()
	}
	p.done = true
	if p.action == "describe" && p.pass == "" && out != "unreached" && !p.gate.unreached.Load() {
		return Room // an answered Describe changes nothing while the breaker is closed
	}
	p.gate.unreached.Store(out == "unreached")
	return p.report(ctx, out, e, taskID)
}

// Report adds the report that the call has made a task to a pipeline of the caller, so that it costs no round trip of
// its own. Call Done when the pipeline has run: it reports again what has failed there.
func (p *Permit) Report(ctx context.Context, pipe redis.Pipeliner, taskID string) {
	p.reported = p.runReport(ctx, pipe, "accepted", &tiw.Error{}, taskID)
}

func (p *Permit) report(ctx context.Context, out string, e *tiw.Error, taskID string) Verdict {
	reply := p.reported
	if reply == nil || reply.Err() != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), doneTime)
		defer cancel()
		reply = p.runReport(ctx, p.gate.rdb, out, e, taskID)
	}
	text, err := reply.Text()
	if err != nil {
		p.gate.o.Log.Warn("could not report the outcome of a request", "outcome", out, "code", e.Code, "err", err)
		text = string(Everybody)
	}
	if out != "accepted" || p.pass != "" {
		p.gate.expireView()
	}
	return Verdict(text)
}

func (p *Permit) runReport(ctx context.Context, c redis.Scripter, out string, e *tiw.Error, taskID string) *redis.Cmd {
	g := p.gate
	return g.runOn(ctx, c, reportScript,
		[]string{g.ns.Refused(), g.ns.Apps(), g.ns.Suspended(), g.ns.Suspension(p.app)},
		p.action, p.pass, p.snapshot, p.app, out, e.Code, e.Message, e.RequestID, taskID, g.o.SuspendFor.Milliseconds())
}

// Release releases a permit whose call was not made. After Done, or a second time,
// it does nothing.
func (p *Permit) Release() {
	if p.rate != nil {
		p.rate.Release()
	}
	if !p.done && (p.pass != "" || p.appTrial) {
		p.done = true
		p.report(context.Background(), "none", &tiw.Error{}, "")
	}
	p.done = true
}

// outcomeOf returns the outcome as report.lua names it.
func outcomeOf(taskID string, err error) (string, *tiw.Error) {
	e := &tiw.Error{}
	switch {
	case err == nil && taskID != "":
		return "accepted", e
	case err == nil:
		return "answered", e
	case errors.Is(err, ratelimit.ErrStale), errors.Is(err, context.Canceled):
		return "none", e
	}
	if !errors.As(err, &e) {
		e = &tiw.Error{Class: tiw.Unknown, Message: err.Error()}
	}
	family, _, _ := strings.Cut(e.Code, ".")
	switch {
	case e.Class == tiw.NotSent && e.Code == tiw.CodeConnect:
		return "unreached", e
	case (e.Class == tiw.NotSent || e.Class == tiw.Permanent) && e.RequestID == "": // nothing was sent
		return "none", e
	case e.Class == tiw.Throttled && family == "LimitExceeded":
		return "quota", e
	case e.Class == tiw.Throttled, e.Class == tiw.Clock:
		return "gateway", e
	case e.Class == tiw.Account && tiw.Explain(e.Code).OneApp:
		return "app", e
	case e.Class == tiw.Account:
		return "account", e
	case e.Class == tiw.Permanent:
		return "answered", e
	}
	if e.RequestID != "" {
		return "failed", e
	}
	return "silent", e
}
