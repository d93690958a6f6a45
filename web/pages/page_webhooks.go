package pages

import (
	"net/http"
	"strconv"
	"time"

	"tiwsnap/web"
	"tiwsnap/web/api"
	"tiwsnap/webhook"
)

var webhooksPage = page("webhooks.html")

// webhooksData is the data of the page of the webhooks.
type webhooksData struct {
	State         string
	Waiting, Dead int
	Webhooks      []api.Webhook
	Gone          []webhook.Gone
	Next          int
}

func (p *Pages) webhooksRoutes() []web.Route {
	routes := p.screen(webhooksPage, screen{
		path: "/webhooks", role: web.RoleView, nav: "webhooks", every: 5 * time.Second,
		read: func(r *http.Request) (string, any, error) {
			in := &api.ListWebhooksInput{State: "dead", Page: 1, Limit: 50}
			if r.URL.Query().Get("state") == "waiting" {
				in.State = "waiting"
			}
			if n, err := strconv.Atoi(r.URL.Query().Get("page")); err == nil && n > 0 {
				in.Page = n
			}
			out, err := p.api.ListWebhooks(r.Context(), in)
			if err != nil {
				return "", nil, err
			}
			d := webhooksData{in.State, out.Body.Waiting, out.Body.Dead, out.Body.Webhooks, out.Body.Gone, out.Body.Next}
			return langOf(r).say("nav.webhooks"), d, nil
		},
	})
	return append(routes,
		p.action("/webhooks/{id}/resend", web.RoleOperate, func(r *http.Request) (string, text, error) {
			_, err := p.api.ResendWebhook(r.Context(), &api.ResendInput{ID: r.PathValue("id")})
			return "/webhooks", say("said.resent", 1), err
		}),
		p.action("/webhooks/resend", web.RoleOperate, func(r *http.Request) (string, text, error) {
			out, err := p.api.ResendWebhooks(r.Context(), nil)
			if err != nil {
				return "", text{}, err
			}
			return "/webhooks", say("said.resent", out.Body.Resent), nil
		}),
	)
}
