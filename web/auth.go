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

// Role is a set of permissions.
type Role string

// The roles. A route without a role is open to anyone.
const (
	RoleView    Role = "view"    // sees everything
	RoleProduce Role = "produce" // enqueues, and sees what it has enqueued
	RoleOperate Role = "operate" // full access
)

// RoleRead is the role of a route that shows one object to those who know its id: either view or produce. It cannot be
// granted.
const RoleRead Role = "view or produce"

// Principal is the user or program that makes a request.
type Principal struct {
	Name  string // of the user or the token; "anonymous" if there are no logins
	Roles []Role
	Token bool // authenticated by a bearer token

	Session bool // authenticated by a session, which a logout ends
}

// Key identifies a principal: a user and a token may have the same name.
func (p Principal) Key() string {
	if p.Token {
		return "token " + p.Name
	}
	return "user " + p.Name
}

// May reports whether the principal has a role. Operate includes all others, and anyone has the empty role.
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

// Token authenticates a program: "Authorization: Bearer …".
type Token struct {
	Name  string
	Hash  string // in the form of password.CheckToken
	Roles []Role
}

// AuthOptions are the settings of an Auth.
type AuthOptions struct {
	// Users and Tokens are the allowed credentials. If both are empty, anyone on this machine has full access: listen
	// on loopback only.
	Users  []User
	Tokens []Token
	// SessionKey signs session cookies: 32 random bytes or more, the same in all processes with the same users.
	// Default: a random key, so sessions end with the process.
	SessionKey string
	// SessionLife is how long a login is valid. Default: 12 h.
	SessionLife time.Duration
	// Redis stores the sessions that were logged out. If it is nil or away, a copied cookie stays valid until it
	// expires.
	Redis     redis.UniversalClient
	Namespace keys.Namespace // default: keys.Default
	Log       *slog.Logger   // default: none
}

// ErrNoCredentials means that a request has neither a bearer token nor a session cookie.
var ErrNoCredentials = errors.New("log in, or send a bearer token")

// ErrBadCredentials means that a token, a session, or a name and password are wrong or have expired.
var ErrBadCredentials = errors.New("the credentials are wrong or have expired")

// LimitedError means too many failed attempts, from one address or in total.
type LimitedError struct {
	RetryAfter time.Duration
}

func (e *LimitedError) Error() string {
	return fmt.Sprintf("too many attempts: try again in %s", e.RetryAfter.Round(time.Second))
}

// Auth authenticates requests. It is safe for concurrent use.
type Auth struct {
	o        AuthOptions // without the credentials
	logins   atomic.Pointer[logins]
	attempts *attempts
	checks   Slots // passwords that are being checked
}

// logins are the allowed credentials, and the key of the sessions.
type logins struct {
	users    []User
	tokens   map[string]Token // by hash
	sessions sessions
}

// maxChecks is how many passwords are checked at a time: argon2 takes much memory and a processor.
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

// Replace replaces the allowed credentials, and the session key unless it is empty. Sessions of users that are gone or
// have another hash end. The error lists all faults; nothing is replaced then.
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
			fault(what, name, errors.New("the name is empty or used twice"))
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

// Open reports whether there are neither users nor tokens, so that anyone on this machine has full access.
func (a *Auth) Open() bool {
	l := a.logins.Load()
	return len(l.users) == 0 && len(l.tokens) == 0
}

// HasUsers reports whether anyone can log in with a password.
func (a *Auth) HasUsers() bool { return len(a.logins.Load().users) > 0 }

// Authenticate returns the principal of a request, by its bearer token or its session. Errors: ErrNoCredentials,
// ErrBadCredentials, *LimitedError.
func (a *Auth) Authenticate(r *http.Request) (Principal, error) {
	if a.Open() {
		if addr, err := netip.ParseAddrPort(r.RemoteAddr); err != nil || !addr.Addr().Unmap().IsLoopback() {
			return Principal{}, ErrNoCredentials
		}
		return Principal{Name: "anonymous", Roles: []Role{RoleView, RoleProduce, RoleOperate}}, nil
	}
	if header := r.Header.Get("Authorization"); header != "" {
		scheme, token, _ := strings.Cut(header, " ")
		// The hash is looked up, so timing reveals nothing about a token.
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

// user returns the user of that name.
func (l *logins) user(name string) (User, bool) {
	i := slices.IndexFunc(l.users, func(u User) bool { return u.Name == name })
	if i < 0 {
		return User{}, false
	}
	return l.users[i], true
}

// checkWait is how long a login waits until its password is checked.
const checkWait = 3 * time.Second

// CheckPassword returns the user of that name and password. An unknown name takes as long as a wrong password. Errors:
// ErrBadCredentials, *LimitedError, or that of ctx.
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
