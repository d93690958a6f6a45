package rdb

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// TLS are the settings of rediss:// that are not in the URL. Every field may be empty.
type TLS struct {
	CA         string // PEM file of the CAs for the server certificate; empty: those of the system
	Cert, Key  string // PEM files of the client certificate; read for each connection, so that it can be renewed
	ServerName string // name in the server certificate; empty: the host of the connection
}

// Check reads the files and returns an error if one is missing or invalid.
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

// apply adds the settings to c, which is nil for a URL without TLS. manyHosts means that the client also connects to
// servers that are not in the URL, so each certificate is checked against its own host.
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
