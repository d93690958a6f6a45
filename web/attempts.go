package web

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// How many wrong credentials are looked at: at once, and how long it takes
// until there is one more. Both for one address and in all.
const (
	addressBurst = 10
	addressEvery = 10 * time.Second
	allBurst     = 60
	allEvery     = time.Second
	maxAddresses = 10_000
)

// attempts limits how often credentials are tried. A login counts whether it
// succeeds or not.
type attempts struct {
	mu      sync.Mutex
	all     *rate.Limiter
	address map[netip.Prefix]*rate.Limiter
}

func newAttempts() *attempts {
	return &attempts{all: rate.NewLimiter(rate.Every(allEvery), allBurst), address: map[netip.Prefix]*rate.Limiter{}}
}

// take counts an attempt from remote, which is an IP address with a port. It
// returns a *LimitedError if there were too many.
func (a *attempts) take(remote string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	from := network(remote)
	one := a.address[from]
	if one == nil {
		if len(a.address) >= maxAddresses {
			a.forget(now)
		}
		one = rate.NewLimiter(rate.Every(addressEvery), addressBurst)
		a.address[from] = one
	}
	// An address that is refused takes nothing from the others.
	for _, l := range []*rate.Limiter{one, a.all} {
		if !l.AllowN(now, 1) {
			wait := time.Duration((1 - l.TokensAt(now)) / float64(l.Limit()) * float64(time.Second))
			return &LimitedError{max(wait, time.Second)}
		}
	}
	return nil
}

// forget drops the addresses that have tried nothing lately, or all of them:
// the limit over all stands.
func (a *attempts) forget(now time.Time) {
	for from, l := range a.address {
		if l.TokensAt(now) >= addressBurst {
			delete(a.address, from)
		}
	}
	if len(a.address) >= maxAddresses {
		clear(a.address)
	}
}

// network is what counts as one address: of IPv6 the 64 bits that one customer
// has at least.
func network(remote string) netip.Prefix {
	addr, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	ip, bits := addr.Addr().Unmap().WithZone(""), 32
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits)
	return p
}
