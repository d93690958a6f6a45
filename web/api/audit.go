package api

import (
	"context"
	"errors"
	"net"
	"time"

	"tiwsnap/internal/audit"
	"tiwsnap/web"
)

// auditTime bounds the write of an entry of the audit log.
const auditTime = 2 * time.Second

type viaKey struct{}

// WithVia returns a context for changes that are made on another way than the API, as audit.Page.
func WithVia(ctx context.Context, via string) context.Context {
	return context.WithValue(ctx, viaKey{}, via)
}

// Audit adds an entry to the audit log, after the change. If Redis does not take it, it is logged.
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
		Next    string        `json:"next,omitempty" doc:"Cursor of the next page, if any"`
	}
}

// ListAudit returns a page of the audit log.
func (a *API) ListAudit(ctx context.Context, in *AuditInput) (*auditOutput, error) {
	out := &auditOutput{}
	var err error
	out.Body.Entries, out.Body.Next, err = audit.New(a.Redis, a.Namespace).Page(ctx, in.Cursor, in.Limit)
	if errors.Is(err, audit.ErrCursor) {
		err = web.Invalid("cursor", "is not one that an earlier page returned")
	}
	return out, err
}
