package api

import (
	"context"
	"errors"
	"net"
	"time"

	"tiwsnap/internal/audit"
	"tiwsnap/web"
)

// auditTime bounds the writing of an entry of the audit log.
const auditTime = 2 * time.Second

type viaKey struct{}

// withVia returns a context whose changes the audit log has as made that way, as audit.Page. Default: audit.API.
func WithVia(ctx context.Context, via string) context.Context {
	return context.WithValue(ctx, viaKey{}, via)
}

// did keeps who did what, after it was done. Where Redis does not take the entry
// the log has it.
func (a *API) Audit(ctx context.Context, action, object, detail string) {
	who := web.PrincipalOf(ctx)
	via, _ := ctx.Value(viaKey{}).(string)
	if via == "" {
		via = audit.API
	}
	from := web.AddressOf(ctx)
	if host, _, err := net.SplitHostPort(from); err == nil {
		from = host
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), auditTime)
	defer cancel()
	err := audit.New(a.Redis, a.Namespace).Add(ctx, audit.Entry{
		By: who.Name, Via: via, From: from, Action: action, Object: object, Detail: detail,
	})
	if err != nil {
		a.o.Log.Warn("the audit log lacks an entry", "by", who.Name, "from", from, "action", action, "object", object,
			"detail", detail, "err", err)
	}
}

type AuditInput struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"100" doc:"How many at most"`
	Cursor string `query:"cursor" maxLength:"50" doc:"next of the page before"`
}

type auditOutput struct {
	Body struct {
		Entries []audit.Entry `json:"entries" doc:"The newest first; kept for 90 days"`
		Next    string        `json:"next,omitempty" doc:"Cursor of the next page, if there is one"`
	}
}

func (a *API) ListAudit(ctx context.Context, in *AuditInput) (*auditOutput, error) {
	out := &auditOutput{}
	var err error
	out.Body.Entries, out.Body.Next, err = audit.New(a.Redis, a.Namespace).Page(ctx, in.Cursor, in.Limit)
	if errors.Is(err, audit.ErrCursor) {
		err = web.Invalid("cursor", "is none that a page before gave")
	}
	return out, err
}
