package pages

import (
	"net/http"
	"time"

	"tiwsnap/web"
	"tiwsnap/web/api"
)

var schedulesPage = page("schedules.html")

func (p *Pages) schedulesRoutes() []web.Route {
	routes := p.screen(schedulesPage, screen{
		path: "/schedules", role: web.RoleView, nav: "schedules", every: 5 * time.Second,
		read: func(r *http.Request) (string, any, error) {
			out, err := p.api.ListSchedules(r.Context(), nil)
			if err != nil {
				return "", nil, err
			}
			return langOf(r).say("nav.schedules"), out.Body.Schedules, nil
		},
	})
	return append(routes,
		p.action("/schedules/{name}/run", web.RoleOperate, func(r *http.Request) (string, text, error) {
			out, err := p.api.RunSchedule(r.Context(), &api.ScheduleInput{Name: r.PathValue("name")})
			if err != nil {
				return "", text{}, err
			}
			if out.Body.BadRows > 0 {
				return "/batches/" + out.Body.ID, say("said.ran.bad", out.Body.Rooms, out.Body.BadRows), nil
			}
			return "/batches/" + out.Body.ID, say("said.ran", out.Body.Rooms), nil
		}),
		p.action("/schedules/{name}/pause", web.RoleOperate, func(r *http.Request) (string, text, error) {
			_, err := p.api.PauseSchedule(r.Context(), &api.ScheduleInput{Name: r.PathValue("name")})
			return "/schedules", say("said.schedule.paused"), err
		}),
		p.action("/schedules/{name}/resume", web.RoleOperate, func(r *http.Request) (string, text, error) {
			_, err := p.api.ResumeSchedule(r.Context(), &api.ScheduleInput{Name: r.PathValue("name")})
			return "/schedules", say("said.schedule.resumed"), err
		}),
	)
}
