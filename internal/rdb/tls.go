package rdb

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// TLS is how rediss:// connects beyond what the URL says. Every field may be empty.
type TLS struct {
	CA         string // PEM file of the authorities that sign the server's certificate; empty: those of the system
	Cert, Key  string // PEM files of the client's certificate; read again for each connection, so that it can be renewed
	ServerName string // name in the server's certificate; empty: the host that is connected to
}

// Check returns what is wrong with the files.
func (t TLS) Check() error {
	if t.CA != "" {
		if _, err := readCA(t.CA); err != nil {
			return err
		}
	}
	if (t.Cert == "") != (t.Key == "") {
		return errors.New("a client certificate needs both a certificate and a key")
	}
	if t.Cert == "" {
		return nil
	}
	_, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	return err
}

func readCA(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s contains no PEM certificate", file)
	}
	return pool, nil
}

// apply sets up c, which is nil unless the URL asks for TLS. manyHosts means that the URL names servers beside which
// others are connected to, so that each is known by its own name.
func (t TLS) apply(c *tls.Config, manyHosts bool) error {
	if c == nil {
		if t != (TLS{}) {
			return errors.New("a CA, a client certificate and a server name need TLS: the URL must begin with rediss")
		}
		return nil
	}
	if err := t.Check(); err != nil {
		return err
	}
	c.MinVersion = tls.VersionTLS12
	if manyHosts {
		c.ServerName = ""
	}
	if t.ServerName != "" {
		c.ServerName = t.ServerName
	}
	if t.CA != "" {
		pool, err := readCA(t.CA)
		if err != nil {
			return err
		}
		c.RootCAs = pool
	}
	if t.Cert != "" {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			cert, err := tls.LoadX509KeyPair(t.Cert, t.Key)
			return &cert, err
		}
	}
	return nil
}
