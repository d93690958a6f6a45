package webhook

import (
	"errors"
	"net"
	"net/url"
	"strings"

	"tiwsnap/internal/guard"
)

// ParseURL checks and parses the URL of a receiver: https, or http if allowHTTP is set, with a host in ASCII and
// without user, password or fragment. The error does not contain the URL, because its path may be secret.
func ParseURL(s string, allowHTTP bool) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("must be a URL as in https://HOST/PATH")
	case u.Scheme == "http" && !allowHTTP:
		return nil, errors.New("must be https://: http is not allowed by the settings")
	case u.User != nil:
		return nil, errors.New("must not contain a user or a password: webhooks are signed")
	case u.Fragment != "":
		return nil, errors.New("must not have a fragment (#)")
	case strings.ContainsFunc(u.Host, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return nil, errors.New("must have a host name in ASCII (xn--…)")
	}
	return u, nil
}

// Host returns the host of a URL in the form of Options.Hosts: in lower case, with its port unless that is the default
// of the scheme.
func Host(u *url.URL) string {
	name, port := guard.Hostname(u.Hostname()), u.Port()
	switch {
	case port != "" && !(u.Scheme == "https" && port == "443") && !(u.Scheme == "http" && port == "80"):
		return net.JoinHostPort(name, port)
	case strings.Contains(name, ":"):
		return "[" + name + "]"
	}
	return name
}
