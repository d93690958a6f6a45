package web

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// SessionCookie is the name of the session cookie.
const SessionCookie = "tiwsnap_session"

// revokeTimeout bounds the check whether a session was logged out.
const revokeTimeout = time.Second

// sessions makes and checks cookies: ID.EXPIRY.NAME.MAC. The MAC also covers the hash of the password, so a new
// password ends all sessions.
type sessions struct{ key []byte }

func (s sessions) make(id string, u User, expiry time.Time) string {
	text := strings.Join([]string{id, strconv.FormatInt(expiry.Unix(), 10),
		base64.RawURLEncoding.EncodeToString([]byte(u.Name))}, ".")
	return text + "." + s.mac(text, u)
}

func (s sessions) mac(text string, u User) string {
	mac := hmac.New(sha256.New, s.key)
	fmt.Fprintf(mac, "tiwsnap session\n%s\n%s", text, u.Hash)
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// Sign returns the HMAC-SHA256 of a text under the session key, in base64url.
func (a *Auth) Sign(text string) string {
	mac := hmac.New(sha256.New, a.logins.Load().sessions.key)
	mac.Write([]byte(text))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// session returns the user of a cookie and the id of the session, if the cookie is valid.
func (a *Auth) session(ctx context.Context, cookie string) (u User, id string, ok bool) {
	field := strings.Split(cookie, ".")
	if len(field) != 4 {
		return u, "", false
	}
	name, err := base64.RawURLEncoding.DecodeString(field[2])
	if err != nil {
		return u, "", false
	}
	l := a.logins.Load()
	u, known := l.user(string(name)) // for an unknown user the MAC is compared, too
	expiry, err := strconv.ParseInt(field[1], 10, 64)
	text := strings.Join(field[:3], ".")
	good := hmac.Equal([]byte(field[3]), []byte(l.sessions.mac(text, u)))
	if !good || !known || err != nil || time.Now().Unix() >= expiry {
		return User{}, "", false
	}
	if a.o.Redis != nil {
		ctx, cancel := context.WithTimeout(ctx, revokeTimeout)
		defer cancel()
		if n, err := a.o.Redis.Exists(ctx, a.o.Namespace.LoggedOut(field[0])).Result(); err == nil && n > 0 {
			return User{}, "", false
		}
	}
	return u, field[0], true
}

// LogIn begins a session of the user.
func (a *Auth) LogIn(w http.ResponseWriter, r *http.Request, u User) {
	expiry := time.Now().Add(a.o.SessionLife)
	setSession(w, r, a.logins.Load().sessions.make(rand.Text(), u, expiry), int(a.o.SessionLife.Seconds()))
}

// LogOut ends the session of a request, also for copies of its cookie. The error is that of Redis; the browser drops
// the cookie in any case.
func (a *Auth) LogOut(w http.ResponseWriter, r *http.Request) error {
	setSession(w, r, "", -1)
	cookie, err := r.Cookie(SessionCookie)
	if err != nil {
		return nil
	}
	_, id, ok := a.session(r.Context(), cookie.Value)
	if !ok || a.o.Redis == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), revokeTimeout)
	defer cancel()
	return a.o.Redis.Set(ctx, a.o.Namespace.LoggedOut(id), "", a.o.SessionLife).Err()
}

func setSession(w http.ResponseWriter, r *http.Request, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: SessionCookie, Value: value, Path: "/", MaxAge: maxAge,
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: OverTLS(r),
	})
}

// OverTLS reports whether the browser uses https, perhaps to a proxy. A false claim harms only the client that makes
// it.
func OverTLS(r *http.Request) bool {
	return r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" ||
		strings.HasPrefix(r.Header.Get("Origin"), "https://")
}
