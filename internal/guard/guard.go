// Package guard protects private networks from requests to addresses that users supply (SSRF).
//
// A Dialer connects only to public addresses and to listed hosts. It checks each address right before it connects.
package guard

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"code.dny.dev/ssrf"
)

// ErrPrivate means that a host has an address that is neither public nor listed.
var ErrPrivate = ssrf.ErrProhibitedIP

// Private is a list of hosts that may have a private address. The zero value is empty.
type Private struct {
	names  []string
	v4, v6 []netip.Prefix
}

// ParsePrivate reads a list of host names, IP addresses and networks (10.1.2.0/24). A listed name may have any
// address. Names are not patterns.
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
			return Private{}, fmt.Errorf("%q is not a host name, an IP address or a network such as 10.1.2.0/24", entry)
		case err != nil:
			p.names = append(p.names, Hostname(entry))
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

// CheckAddress returns an error if the host of a URL is an IP address that is not allowed. It does not look up names,
// because only the address at the time of a request counts.
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

func (p Private) has(name string) bool { return slices.Contains(p.names, Hostname(name)) }

// Hostname returns the canonical form of a host name.
func Hostname(s string) string { return strings.TrimSuffix(strings.ToLower(s), ".") }

// Dialer connects to public and listed hosts. It checks each address after all lookups and right before it connects, so
// that a name cannot change in between. A Transport that uses it must have no Proxy, which would connect in its place.
type Dialer struct {
	private Private
	open    net.Dialer // for the names that may be private
	guarded net.Dialer
}

// Dialer returns a dialer with a timeout, default 10 s. The timeout is needed because net/http goes on setting up a
// connection after its request has ended.
func (p Private) Dialer(timeout time.Duration) *Dialer {
	if timeout == 0 {
		timeout = 10 * time.Second
	}
	return &Dialer{
		private: p,
		open:    net.Dialer{Timeout: timeout},
		guarded: net.Dialer{Timeout: timeout, Control: p.guard().Safe},
	}
}

// DialContext is for http.Transport. Errors: ErrPrivate, or that of the network.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if name, _, err := net.SplitHostPort(address); err == nil && d.private.has(name) {
		return d.open.DialContext(ctx, network, address)
	}
	return d.guarded.DialContext(ctx, network, address)
}

// UseResolver sets the resolver for names, for tests.
func (d *Dialer) UseResolver(r *net.Resolver) { d.open.Resolver, d.guarded.Resolver = r, r }
