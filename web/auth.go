package web

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/keys"
	"tiwsnap/internal/password"
)

// Role is something that a user or a token may do.
type Role string

// The roles. A route that names none is open to everybody.
const (
	RoleView    Role = "view"    // look at everything
	RoleProduce Role = "produce" // enqueue, and look at what was enqueued
	RoleOperate Role = "operate" // everything
)

// roleRead is what a route needs that tells of something whose id one must know:
// either of two roles. Nobody is given it.
const RoleRead Role = "view or produce"

// Principal is who makes a request.
type Principal struct {
	Name  string // of the user or the token; "anonymous" where nobody has one
	Roles []Role
	Token bool // known by a bearer token, and not by a session

	Session bool // known by a session, which a logout ends
}

// key tells principals apart: a user and a token may have the same name.
func (p Principal) Key() string {
	if p.Token {
		return "token " + p.Name
	}
	return "user " + p.Name
}

// May reports whether the principal may do what needs the role. A role
// "operate" may everything, and everybody may what needs none.
func (p Principal) May(r Role) bool {
	has := func(r Role) bool { return slices.Contains(p.Roles, r) }
	return r == "" || has(r) || has(RoleOperate) || r == RoleRead && (has(RoleView) || has(RoleProduce))
}

// User may log in with a password.
type User struct {
	Name  string
	Hash  string // in the form of password.Check
	Roles []Role
}

// Token lets a program in, as "Authorization: Bearer …".
type Token struct {
	Name  string
	Hash  string // in the form of password.CheckToken
	Roles []Role
}

// AuthOptions are the settings of an Auth.
type AuthOptions struct {
	// Users and Tokens are who may come in. Without any of both everybody on
	// this machine may everything: listen on loopback only.
	Users  []User
	Tokens []Token
	// SessionKey signs the cookies of sessions: 32 random bytes or more, the
	// same in all processes that share their users. Default: a random one, so
	// that sessions end with the process.
	SessionKey string
	// SessionLife is how long a login lasts. Default 12 h.
	SessionLife time.Duration
	// Redis remembers who has logged out. Where it is nil or away, a cookie
	// that somebody has kept past the logout is good until it expires.
	Redis     redis.UniversalClient
	Namespace keys.Namespace // default: keys.Default
	Log       *slog.Logger   // default: none
}

// ErrNoCredentials means that a request carries neither a bearer token nor the
// cookie of a session.
var ErrNoCredentials = errors.New("log in, or send a bearer token")

// ErrBadCredentials means that the token or the session of a request, or a name
// and password, are wrong or no longer good.
var ErrBadCredentials = errors.New("the credentials are wrong or have expired")

// LimitedError means that too many wrong credentials came, from one address or
// in all.
type LimitedError struct {
	RetryAfter time.Duration
}

func (e *LimitedError) Error() string {
	return fmt.Sprintf("too many attempts: try again in %s", e.RetryAfter.Round(time.Second))
}

// Auth knows who may come in. It is safe for concurrent use.
type Auth struct {
	o        AuthOptions // but for who may come in
	logins   atomic.Pointer[logins]
	attempts *attempts
	checks   Slots // passwords that are being checked
}

// logins is who may come in, and what signs their sessions.
type logins struct {
	users    []User
	tokens   map[string]Token // by hash
	sessions sessions
}

// maxChecks is how many passwords are checked at a time: each takes memory and
// a processor as argon2 wants it.
const maxChecks = 2

// NewAuth returns an Auth. The error lists every fault of the options.
func NewAuth(o AuthOptions) (*Auth, error) {
	o.SessionLife = cmp.Or(o.SessionLife, 12*time.Hour)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.SessionKey == "" {
		o.SessionKey = rand.Text() + rand.Text()
	}
	a := &Auth{o: o, attempts: newAttempts(), checks: Slots{All: maxChecks}}
	return a, a.Replace(o.Users, o.Tokens, o.SessionKey)
}

// Replace replaces who may come in, and the session key unless that is empty.
// Sessions of users who are gone, or whose hash is another, end. The error lists
// every fault; those of before stay then.
func (a *Auth) Replace(users []User, tokens []Token, sessionKey string) error {
	sessionKey = cmp.Or(sessionKey, a.o.SessionKey)
	next := &logins{users, map[string]Token{}, sessions{[]byte(sessionKey)}}
	var errs []error
	fault := func(what, name string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s %q: %w", what, name, err))
		}
	}
	names := map[string]bool{}
	check := func(what, name string, roles []Role) {
		if name == "" || names[what+name] {
			fault(what, name, errors.New("the name is empty or there twice"))
		}
		names[what+name] = true
		if len(roles) == 0 {
			fault(what, name, errors.New("has no role"))
		}
		for _, r := range roles {
			if r != RoleView && r != RoleProduce && r != RoleOperate {
				fault(what, name, fmt.Errorf("there is no role %q", r))
			}
		}
	}
	for _, u := range users {
		check("user", u.Name, u.Roles)
		fault("user", u.Name, password.Check(u.Hash))
	}
	for _, t := range tokens {
		check("token", t.Name, t.Roles)
		fault("token", t.Name, password.CheckToken(t.Hash))
		next.tokens[t.Hash] = t
	}
	if len(sessionKey) < 32 {
		errs = append(errs, errors.New("the session key is shorter than 32 bytes"))
	}
	if errs == nil {
		a.logins.Store(next)
	}
	return errors.Join(errs...)
}

// Open reports whether there are neither users nor tokens, so that everybody on
// this machine may everything.
func (a *Auth) Open() bool {
	l := a.logins.Load()
	return len(l.users) == 0 && len(l.tokens) == 0
}

// HasUsers reports whether anybody can log in with a password.
func (a *Auth) HasUsers() bool { return len(a.logins.Load().users) > 0 }

// Authenticate returns who makes a request: by its bearer token, or else by its
// session. Errors: ErrNoCredentials, ErrBadCredentials, *LimitedError.
func (a *Auth) Authenticate(r *http.Request) (Principal, error) {
	if a.Open() {
		if addr, err := netip.ParseAddrPort(r.RemoteAddr); err != nil || !addr.Addr().Unmap().IsLoopback() {
			return Principal{}, ErrNoCredentials
		}
		return Principal{Name: "anonymous", Roles: []Role{RoleView, RoleProduce, RoleOperate}}, nil
	}
	if header := r.Header.Get("Authorization"); header != "" {
		scheme, token, _ := strings.Cut(header, " ")
		// The hash of what was sent is looked up: how long that takes tells
		// nothing about a token.
		t, ok := a.logins.Load().tokens[password.HashToken(strings.TrimSpace(token))]
		if !ok || !strings.EqualFold(scheme, "Bearer") {
			return Principal{}, cmp.Or(a.attempts.take(r.RemoteAddr), ErrBadCredentials)
		}
		return Principal{Name: t.Name, Roles: t.Roles, Token: true}, nil
	}
	cookie, err := r.Cookie(SessionCookie)
	if err != nil {
		return Principal{}, ErrNoCredentials
	}
	u, _, ok := a.session(r.Context(), cookie.Value)
	if !ok {
		return Principal{}, ErrBadCredentials
	}
	return Principal{Name: u.Name, Roles: u.Roles, Session: true}, nil
}

// user is the user of that name.
func (l *logins) user(name string) (User, bool) {
	i := slices.IndexFunc(l.users, func(u User) bool { return u.Name == name })
	if i < 0 {
		return User{}, false
	}
	return l.users[i], true
}

// checkWait is how long a login waits for its turn to be checked.
const checkWait = 3 * time.Second

// checkPassword returns the user of that name and password. Whoever asks for a
// user that does not exist waits as long as for a wrong password. Errors:
// ErrBadCredentials, *LimitedError, or ctx's.
func (a *Auth) CheckPassword(ctx context.Context, addr, name, word string) (User, error) {
	if err := a.attempts.take(addr); err != nil {
		return User{}, err
	}
	if !a.checks.wait(ctx, "", checkWait) {
		return User{}, cmp.Or(ctx.Err(), error(&LimitedError{checkWait}))
	}
	defer a.checks.free("")
	l := a.logins.Load()
	u, ok := l.user(name)
	if !ok {
		if len(l.users) > 0 {
			password.Verify(l.users[0].Hash, word)
		}
		return User{}, ErrBadCredentials
	}
	if !password.Verify(u.Hash, word) {
		return User{}, ErrBadCredentials
	}
	return u, nil
}

type principalKey struct{}

// PrincipalOf returns who makes the request of that context, as far as
// NewHandler has asked.
func PrincipalOf(ctx context.Context) Principal {
	p, _ := ctx.Value(principalKey{}).(Principal)
	return p
}
