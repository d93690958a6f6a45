package pages

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"tiwsnap/web"
)

// settingsLife is how long a browser keeps its settings, in seconds.
const settingsLife = 365 * 24 * 3600

// settingsRoutes returns the routes of the form at the foot of each page: language and time zone.
func (p *Pages) settingsRoutes() []web.Route {
	return []web.Route{web.Handle("POST /settings", "", func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		set := func(name, value string) {
			http.SetCookie(w, &http.Cookie{
				Name: name, Value: url.QueryEscape(value), Path: "/", MaxAge: settingsLife,
				SameSite: http.SameSiteLaxMode, Secure: web.OverTLS(r),
			})
		}
		for l := range lang(languages) {
			if r.PostFormValue("lang") == l.String() {
				set(langCookie, l.String())
			}
		}
		if zone := r.PostFormValue("zone"); zone != "" {
			if _, err := time.LoadLocation(zone); err != nil || zone == "Local" {
				web.Invalid("zone", "must be a time zone such as Asia/Shanghai").Write(w, r)
				return
			}
			set(zoneCookie, zone)
		}
		http.Redirect(w, r, web.BaseOf(r)+localPath(r.PostFormValue("next")), http.StatusSeeOther)
	})}
}

// localPath returns next if that is a path of this server, and otherwise the first page.
func localPath(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || !strings.HasPrefix(next, "/") ||
		strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\r\n\t") ||
		strings.HasPrefix(u.Path, "/login") || strings.HasPrefix(u.Path, "/logout") || strings.HasPrefix(u.Path, "/live/") {
		return "/"
	}
	return next
}
