package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// DefaultHTTPAddr is the default of HTTP.Addr.
const DefaultHTTPAddr = "127.0.0.1:8080"

// HTTP is the listener of the pages and the API, with its users and tokens.
type HTTP struct {
	Addr       string         `koanf:"addr"`    // host:port to listen on; empty: none
	Hosts      []string       `koanf:"hosts"`   // host names, in lower case and without ports
	Proxies    []netip.Prefix `koanf:"proxies"` // proxies whose X-Forwarded-For is trusted
	SessionKey Secret         `koanf:"session_key"`
	Users      []Login        `koanf:"users"`
	Tokens     []Login        `koanf:"tokens"`
}

// Metrics is a separate listener for Prometheus.
type Metrics struct {
	Addr string `koanf:"addr"` // host:port; empty: metrics are served at HTTP.Addr
}

// Login is a user, or an access token of a program.
type Login struct {
	Name  string
	Roles []string // view, produce, operate
	Hash  Secret   // hash of the password or the token, see package password
}

var (
	loginName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$`)
	roles     = []string{"view", "produce", "operate"}
)

// lines splits a text at line breaks and semicolons, without empty lines and comments.
func lines(s string) (all []string) {
	for line := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == '\n' || r == ';' }) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			all = append(all, line)
		}
	}
	return all
}

// logins parses lines of NAME ROLES HASH. check validates the hash.
func logins(check func(string) error) func(string) (any, error) {
	return func(s string) (any, error) {
		all := []Login{}
		for i, line := range lines(s) {
			l, err := login(line, check)
			if err == nil && slices.ContainsFunc(all, func(before Login) bool { return before.Name == l.Name }) {
				err = fmt.Errorf("%s appears twice", l.Name)
			}
			if err != nil {
				return nil, fmt.Errorf("entry %d: %w", i+1, err)
			}
			all = append(all, l)
		}
		if len(all) == 0 && s != "" {
			return nil, errors.New("lists nobody")
		}
		return all, nil
	}
}

func login(line string, check func(string) error) (Login, error) {
	field := strings.Fields(line)
	switch {
	case len(field) > 0 && field[len(field)-1] == mask:
		return Login{}, errors.New("*** is the placeholder that config print shows: give the hash itself")
	case len(field) != 3:
		return Login{}, errors.New(
			"must be NAME ROLES HASH, with roles separated by commas, such as: ada view,produce $argon2id$…",
		)
	case !loginName.MatchString(field[0]):
		return Login{}, errors.New("the name must be 1 to 64 of A-Z, a-z, 0-9, . _ @ and -")
	}
	l := Login{Name: field[0], Roles: list(field[1]), Hash: NewSecret(field[2])}
	for _, r := range l.Roles {
		if !slices.Contains(roles, r) {
			return l, fmt.Errorf("%s: a role must be %s", l.Name, strings.Join(roles, " or "))
		}
	}
	if err := check(field[2]); err != nil {
		return l, fmt.Errorf("%s: the hash %w", l.Name, err)
	}
	return l, nil
}

// hideHashes shows names and roles, and hides the hashes.
func hideHashes(s string) string {
	var shown []string
	for _, line := range lines(s) {
		field := strings.Fields(line)
		if len(field) != 3 || !loginName.MatchString(field[0]) ||
			slices.ContainsFunc(list(field[1]), func(r string) bool { return !slices.Contains(roles, r) }) {
			return mask // any part may be the hash
		}
		shown = append(shown, field[0]+" "+field[1]+" "+mask)
	}
	return strings.Join(shown, "; ")
}

func hostNames(s string) (any, error) {
	all := []string{}
	for _, name := range list(s) {
		name = strings.ToLower(strings.TrimSuffix(name, "."))
		if strings.ContainsAny(name, "/:*@ ") {
			return nil, fmt.Errorf(
				"must be host names such as tiwsnap.example.com, without a port, separated by commas: %s is not a "+
					"host name",
				quote(name),
			)
		}
		all = append(all, name)
	}
	return all, nil
}

// networks parses IP addresses and networks.
func networks(s string) (any, error) {
	all := []netip.Prefix{}
	for _, entry := range list(s) {
		prefix, err := netip.ParsePrefix(entry)
		if addr, addrErr := netip.ParseAddr(entry); addrErr == nil {
			addr = addr.Unmap().WithZone("")
			prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil || prefix != prefix.Masked() {
			return nil, fmt.Errorf(
				"must be addresses and networks such as 10.1.2.3 or 10.1.2.0/24, separated by commas: %s is neither",
				quote(entry),
			)
		}
		all = append(all, prefix)
	}
	return all, nil
}

// http checks that only this machine has full access without a login.
func (l *loader) http(h HTTP) {
	if h.Addr == "" || loopback(h.Addr) || l.isSet["http.users"] || l.isSet["http.tokens"] {
		return
	}
	l.fault(
		"TIWSNAP_HTTP_USERS: is missing: TIWSNAP_HTTP_ADDR is %s, which other machines can reach, and without "+
			"users or tokens anyone has full access; set one of them, or listen on 127.0.0.1",
		h.Addr,
	)
}

// loopback reports whether only this machine can reach an address.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
