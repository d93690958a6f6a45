package webhook

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"code.dny.dev/ssrf"
)

// ParseURL checks and parses the URL of a receiver: https, or http where
// allowHTTP is set, with a host in ASCII and without user, password or
// fragment. The error does not repeat the URL: its path may be a secret.
func ParseURL(s string, allowHTTP bool) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("must be a URL as in https://HOST/PATH")
	case u.Scheme == "http" && !allowHTTP:
		return nil, errors.New("must be https://: http is not allowed by the settings")
	case u.User != nil:
		return nil, errors.New("must not hold a user or a password: webhooks are signed")
	case u.Fragment != "":
		return nil, errors.New("must not have a fragment (#)")
	case strings.ContainsFunc(u.Host, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return nil, errors.New("must have a host name in ASCII (xn--…)")
	}
	return u, nil
}

// Host returns the host of a URL as lists of receivers have it: in lower case,
// and with its port unless that is the scheme's own.
func Host(u *url.URL) string {
	name, port := hostname(u.Hostname()), u.Port()
	switch {
	case port != "" && !(u.Scheme == "https" && port == "443") && !(u.Scheme == "http" && port == "80"):
		return net.JoinHostPort(name, port)
	case strings.Contains(name, ":"):
		return "[" + name + "]"
	}
	return name
}

// hostname makes names equal that mean the same.
func hostname(s string) string { return strings.TrimSuffix(strings.ToLower(s), ".") }

// Private lists receivers that may be at a private address. The zero value
// lists none.
type Private struct {
	names  []string
	v4, v6 []netip.Prefix
}

// ParsePrivate reads a list of host names, IP addresses and networks
// (10.1.2.0/24). A listed name may have any address; names are not patterns.
func ParsePrivate(entries []string) (Private, error) {
	var p Private
	for _, entry := range entries {
		prefix, err := netip.ParsePrefix(entry)
		if addr, addrErr := netip.ParseAddr(entry); addrErr == nil {
			addr = addr.Unmap()
			prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		switch {
		case err != nil && !isHostname(entry):
			return Private{}, fmt.Errorf("%q is neither a host name nor an IP address nor a network as in 10.1.2.0/24", entry)
		case err != nil:
			p.names = append(p.names, hostname(entry))
		case prefix != prefix.Masked():
			return Private{}, fmt.Errorf("%q is not a network: write %s, or the address alone", entry, prefix.Masked())
		case prefix.Addr().Is4():
			p.v4 = append(p.v4, prefix)
		default:
			p.v6 = append(p.v6, prefix)
		}
	}
	return p, nil
}

// CheckAddress returns an error where the URL has an IP address for a host that
// receivers may not be at. Names are not looked up: only the address at the time
// of a request counts.
func (p Private) CheckAddress(u *url.URL) error {
	addr, err := netip.ParseAddr(u.Hostname())
	if err != nil || p.has(u.Hostname()) {
		return nil
	}
	network := "tcp6"
	if addr.Is4() {
		network = "tcp4"
	}
	if p.guard().Safe(network, netip.AddrPortFrom(addr, 443).String(), nil) != nil {
		return errors.New("leads to a private address")
	}
	return nil
}

// guard refuses connections to addresses that are neither public nor listed.
func (p Private) guard() *ssrf.Guardian {
	return ssrf.New(ssrf.WithAnyPort(), ssrf.WithAllowedV4Prefixes(p.v4...), ssrf.WithAllowedV6Prefixes(p.v6...))
}

func isHostname(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._", r)
	})
}

func (p Private) has(name string) bool { return slices.Contains(p.names, hostname(name)) }
