package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/hibiken/asynq"

	"tiwsnap/tasks"
	"tiwsnap/web"
	"tiwsnap/webhook"
)

// Webhook is a notification that is not delivered yet, or was given up.
type Webhook struct {
	ID       string    `json:"id"`
	Event    string    `json:"event"`
	Ref      string    `json:"ref" doc:"Id of the snapshot or the batch"`
	Receiver string    `json:"receiver" doc:"Host; default: that of the configuration"`
	Tries    int       `json:"tries"`
	Error    string    `json:"error,omitempty" doc:"Of the last try"`
	EndedAt  time.Time `json:"ended_at" doc:"End of the snapshot or the batch"`
	FailedAt time.Time `json:"failed_at,omitzero" doc:"Time of the last try"`
	NextAt   time.Time `json:"next_at,omitzero" doc:"Time of the next try"`
}

type ListWebhooksInput struct {
	State string `query:"state" enum:"waiting,dead" default:"dead" doc:"waiting: will be retried; dead: given up"`
	Page  int    `query:"page" minimum:"1" maximum:"10000" default:"1" doc:"Number of the page"`
	Limit int    `query:"limit" minimum:"1" maximum:"500" default:"100" doc:"How many at most"`
}

type listWebhooksOutput struct {
	Body struct {
		Webhooks []Webhook      `json:"webhooks"`
		Waiting  int            `json:"waiting" doc:"How many wait for a try"`
		Dead     int            `json:"dead" doc:"How many were given up"`
		Gone     []webhook.Gone `json:"gone" doc:"Receivers that answered 410 Gone: nothing is sent to them until a resend"`
		Next     int            `json:"next,omitempty" doc:"The next page, if any"`
	}
}

// ListWebhooks returns a page of webhooks.
func (a *API) ListWebhooks(ctx context.Context, in *ListWebhooksInput) (*listWebhooksOutput, error) {
	out := &listWebhooksOutput{}
	out.Body.Webhooks = []Webhook{}
	var err error
	if out.Body.Gone, err = a.outbox().ListGone(ctx); err != nil {
		return nil, err
	}
	list := a.inspector.ListArchivedTasks
	if in.State == "waiting" {
		list = a.inspector.ListRetryTasks
	}
	all, err := list(a.Namespace.QueueWebhooks(), asynq.PageSize(in.Limit), asynq.Page(in.Page))
	if errors.Is(err, asynq.ErrQueueNotFound) {
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	info, err := a.inspector.GetQueueInfo(a.Namespace.QueueWebhooks())
	if err != nil {
		return nil, err
	}
	out.Body.Waiting, out.Body.Dead = info.Retry+info.Pending+info.Scheduled, info.Archived
	for _, t := range all {
		// An unreadable payload is given up, too: what is known of it is shown.
		p, _ := tasks.ParseNotify(t.Payload)
		w := Webhook{
			ID: t.ID, Event: p.Type, Ref: p.Ref, Receiver: webhook.HostOf(p.URL), Tries: t.Retried, Error: t.LastErr,
			EndedAt: time.UnixMilli(p.At).UTC(), FailedAt: t.LastFailedAt.UTC(),
		}
		if in.State == "waiting" {
			w.NextAt = t.NextProcessAt.UTC()
		} else {
			w.Tries++
		}
		out.Body.Webhooks = append(out.Body.Webhooks, w)
	}
	if len(all) == in.Limit {
		out.Body.Next = in.Page + 1
	}
	return out, nil
}

func (a *API) outbox() *webhook.Outbox { return webhook.NewOutbox(a.Redis, a.Namespace) }

type ResendInput struct {
	ID string `path:"id" maxLength:"100" doc:"Of the webhook"`
}

type resendOutput struct {
	Body struct {
		Resent int `json:"resent" doc:"How many were queued again"`
	}
}

// ResendWebhook queues an undelivered webhook again.
func (a *API) ResendWebhook(ctx context.Context, in *ResendInput) (*resendOutput, error) {
	info, err := a.inspector.GetTaskInfo(a.Namespace.QueueWebhooks(), in.ID)
	switch {
	case errors.Is(err, asynq.ErrTaskNotFound), errors.Is(err, asynq.ErrQueueNotFound):
		return nil, web.NewProblem(http.StatusNotFound, web.CodeNotFound,
			"no webhook has that id; delivered ones are not kept")
	case err != nil:
		return nil, err
	case info.State != asynq.TaskStateArchived && info.State != asynq.TaskStateRetry:
		return nil, web.NewProblem(http.StatusConflict, web.CodeState, "it is being delivered, or was delivered")
	}
	// An unreadable payload has no receiver.
	if p, err := tasks.ParseNotify(info.Payload); err == nil {
		if err := a.outbox().Return(ctx, webhook.BatchOf(p)); err != nil {
			return nil, err
		}
	}
	if err := a.inspector.RunTask(a.Namespace.QueueWebhooks(), in.ID); err != nil {
		return nil, err
	}
	a.Audit(ctx, "resend-webhook", in.ID, "")
	out := &resendOutput{}
	out.Body.Resent = 1
	return out, nil
}

// ResendWebhooks queues all undelivered webhooks again.
func (a *API) ResendWebhooks(ctx context.Context, _ *struct{}) (*resendOutput, error) {
	out := &resendOutput{}
	if err := a.outbox().ReturnAll(ctx); err != nil {
		return nil, err
	}
	// Only the list reports a queue that does not exist yet.
	_, err := a.inspector.ListArchivedTasks(a.Namespace.QueueWebhooks(), asynq.PageSize(1))
	if errors.Is(err, asynq.ErrQueueNotFound) {
		return out, nil
	}
	n, err := a.inspector.RunAllArchivedTasks(a.Namespace.QueueWebhooks())
	if err != nil {
		return nil, err
	}
	if out.Body.Resent = n; n > 0 {
		a.Audit(ctx, "resend-webhooks", "", fmt.Sprint(n))
	}
	return out, nil
}
