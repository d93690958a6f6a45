package web

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// behind gives requests that come through one of our proxies the address of
// whoever made them.
func behind(proxies []netip.Prefix, next http.Handler) http.Handler {
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

// client is the address that a request comes from: the nearest one that is no
// proxy of ours. Each of them adds the address that it was asked from at the end
// of X-Forwarded-For; what stands before those may be made up. Where one has
// added what is no address, it is that proxy's own. A port that is not known is 0.
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
