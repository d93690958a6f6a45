package web

import (
	"net/http"
	"time"
)

var schedulesPage = page("schedules.html")

func (p *Pages) schedulesRoutes() []Route {
	routes := p.screen(schedulesPage, screen{
		path: "/schedules", role: RoleView, nav: "schedules", every: 5 * time.Second,
		read: func(r *http.Request) (string, any, error) {
			out, err := p.api.listSchedules(r.Context(), nil)
			if err != nil {
				return "", nil, err
			}
			return langOf(r).say("nav.schedules"), out.Body.Schedules, nil
		},
	})
	return append(routes,
		p.action("/schedules/{name}/run", RoleOperate, func(r *http.Request) (string, text, error) {
			out, err := p.api.runSchedule(r.Context(), &scheduleInput{r.PathValue("name")})
			if err != nil {
				return "", text{}, err
			}
			if out.Body.BadRows > 0 {
				return "/batches/" + out.Body.ID, say("said.ran.bad", out.Body.Rooms, out.Body.BadRows), nil
			}
			return "/batches/" + out.Body.ID, say("said.ran", out.Body.Rooms), nil
		}),
		p.action("/schedules/{name}/pause", RoleOperate, func(r *http.Request) (string, text, error) {
			_, err := p.api.pauseSchedule(r.Context(), &scheduleInput{r.PathValue("name")})
			return "/schedules", say("said.schedule.paused"), err
		}),
		p.action("/schedules/{name}/resume", RoleOperate, func(r *http.Request) (string, text, error) {
			_, err := p.api.resumeSchedule(r.Context(), &scheduleInput{r.PathValue("name")})
			return "/schedules", say("said.schedule.resumed"), err
		}),
	)
}
