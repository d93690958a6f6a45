package images

import "net"

// UseResolver makes the fetcher ask r for the addresses of names.
func (f *Fetcher) UseResolver(r *net.Resolver) { f.dialer.UseResolver(r) }
