package images

import "net"

// UseResolver makes the fetcher resolve host names with r.
func (f *Fetcher) UseResolver(r *net.Resolver) { f.dialer.UseResolver(r) }
