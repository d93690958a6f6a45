package pages

import (
	"errors"
	"math"
	"net/http"
	"strconv"

	"tiwsnap/web"
)

var loginPage = page("login.html")

// loginData is the data of the login page.
type loginData struct {
	Name, Next string
	Fault      text
	NoUsers    bool // only tokens are configured
}

// maxForm bounds the body of a form, in bytes.
const maxForm = 16 << 10

func (p *Pages) loginRoutes() []web.Route {
	return []web.Route{
		web.Handle("GET /login", "", p.showLogin),
		web.Handle("POST /login", "", p.logIn),
		web.Handle("POST /logout", "", p.logOut),
	}
}

func (p *Pages) showLogin(w http.ResponseWriter, r *http.Request) {
	next := localPath(r.URL.Query().Get("next"))
	if web.PrincipalOf(r.Context()).Name != "" {
		http.Redirect(w, r, web.BaseOf(r)+next, http.StatusSeeOther)
		return
	}
	noUsers := !p.o.Auth.HasUsers()
	p.show(w, r, http.StatusOK, loginPage, langOf(r).say("login.title"), loginData{Next: next, NoUsers: noUsers})
}

func (p *Pages) logIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		web.NewProblem(http.StatusBadRequest, web.CodeInvalid, "the login form cannot be read").Write(w, r)
		return
	}
	name, next := r.PostForm.Get("name"), localPath(r.PostForm.Get("next"))
	u, err := p.o.Auth.CheckPassword(r.Context(), r.RemoteAddr, name, r.PostForm.Get("password"))
	if err == nil {
		p.o.Log.Info("logged in", "user", u.Name, "from", r.RemoteAddr)
		p.o.Auth.LogIn(w, r, u)
		http.Redirect(w, r, web.BaseOf(r)+next, http.StatusSeeOther)
		return
	}
	// The name is not logged: a user may have typed the password there.
	if n := p.refused.Now(); n > 0 {
		p.o.Log.Warn("logins refused", "count", n, "last_from", r.RemoteAddr, "last_err", err)
	}
	data := loginData{Name: name, Next: next, Fault: say("login.wrong")}
	status := http.StatusUnauthorized
	var limited *web.LimitedError
	if errors.As(err, &limited) {
		seconds := int(math.Ceil(limited.RetryAfter.Seconds()))
		w.Header().Set("Retry-After", strconv.Itoa(seconds))
		status = http.StatusTooManyRequests
		data.Fault = say("login.limited", seconds)
	}
	p.show(w, r, status, loginPage, langOf(r).say("login.title"), data)
}

func (p *Pages) logOut(w http.ResponseWriter, r *http.Request) {
	if err := p.o.Auth.LogOut(w, r); err != nil {
		p.o.Log.Warn("logged out in the browser only: a copy of the cookie is good until it expires", "err", err)
	}
	http.Redirect(w, r, web.BaseOf(r)+"/login", http.StatusSeeOther)
}
