package web

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// withClientAddress sets RemoteAddr to the address of the client for requests that come through one of our proxies.
func withClientAddress(proxies []netip.Prefix, next http.Handler) http.Handler {
	if len(proxies) == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if from := client(r, proxies); from != r.RemoteAddr {
			r2 := *r
			r2.RemoteAddr = from
			r = &r2
		}
		next.ServeHTTP(w, r)
	})
}

// client returns the address of the client: the nearest one that is not one of our proxies. Each proxy appends the
// address that it got the request from; entries before that may be forged. If an entry is no address, the proxy that
// appended it counts as the client. An unknown port is 0.
func client(r *http.Request, proxies []netip.Prefix) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	ours := func(a netip.Addr) bool {
		return slices.ContainsFunc(proxies, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	last := peer.Addr().Unmap().WithZone("")
	if err != nil || !ours(last) {
		return r.RemoteAddr
	}
	from := last
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		addr, err := netip.ParseAddr(strings.Trim(strings.TrimSpace(hop), "[]"))
		if err != nil { // some write the port
			var withPort netip.AddrPort
			withPort, err = netip.ParseAddrPort(strings.TrimSpace(hop))
			addr = withPort.Addr()
		}
		if err != nil {
			break
		}
		if from = addr.Unmap().WithZone(""); !ours(from) {
			break
		}
	}
	if from == last {
		return r.RemoteAddr
	}
	return netip.AddrPortFrom(from, 0).String()
}
