package webhook

import (
	"crypto/tls"
	"crypto/x509"
	"net"
)

// UseResolver makes the sender resolve names with r.
func (s *Sender) UseResolver(r *net.Resolver) { s.dialer.UseResolver(r) }

// Trust makes the sender trust certificates that roots have signed.
func (s *Sender) Trust(roots *x509.CertPool) {
	s.transport.TLSClientConfig = &tls.Config{RootCAs: roots}
}
