package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"time"

	"github.com/tidehold/tidehold/gateway/ids"
)

const (
	rootLife   = 10 * 365 * 24 * time.Hour
	issuerLife = 5 * 365 * 24 * time.Hour
)

// Authority is the gateway's own: a root that signed two issuers, one for
// servers and one for devices, so that no device certificate can pose as the
// gateway (security.md 2.2). All three keys are P-256.
type Authority struct{ root, servers, devices issuer }

type issuer struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

// The names of an authority's files: keys are for the owner's eyes alone.
const (
	RootCertificate    = "root.pem"
	RootKey            = "root.key"
	ServersCertificate = "servers.pem"
	ServersKey         = "servers.key"
	DevicesCertificate = "devices.pem"
	DevicesKey         = "devices.key"
)

// Files are all names, certificates before their keys.
func Files() []string {
	return []string{RootCertificate, RootKey, ServersCertificate, ServersKey, DevicesCertificate, DevicesKey}
}

// NewAuthority makes the authority of a gateway. Clients trust Root for ten
// years.
func NewAuthority(gateway string, m Moment, src *ids.Source) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("pki make root key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial(src), Subject: pkix.Name{Organization: []string{"Tidehold"}, CommonName: label("Tidehold root CA " + gateway)},
		NotBefore: m.start(), NotAfter: m.Time().Add(rootLife).UTC().Truncate(time.Second),
		IsCA: true, BasicConstraintsValid: true, MaxPathLen: 1, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	root := issuer{key: key}
	if root.certificate, err = sign(template, template, key.Public(), key); err != nil {
		return nil, fmt.Errorf("pki make root: %w", err)
	}
	a := &Authority{root: root}
	return a, a.issue(gateway, m, src)
}

// issue gives the authority new issuers.
func (a *Authority) issue(gateway string, m Moment, src *ids.Source) (err error) {
	if a.servers, err = a.root.issuer("Tidehold server CA "+gateway, x509.ExtKeyUsageServerAuth, m, src); err != nil {
		return fmt.Errorf("pki make server issuer: %w", err)
	}
	if a.devices, err = a.root.issuer("Tidehold device CA "+gateway, x509.ExtKeyUsageClientAuth, m, src); err != nil {
		return fmt.Errorf("pki make device issuer: %w", err)
	}
	return nil
}

func (i issuer) issuer(name string, usage x509.ExtKeyUsage, m Moment, src *ids.Source) (issuer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return issuer{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial(src), Subject: pkix.Name{Organization: []string{"Tidehold"}, CommonName: label(name)},
		NotBefore: m.start(), NotAfter: earlier(m.Time().Add(issuerLife), i.certificate.NotAfter),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, ExtKeyUsage: []x509.ExtKeyUsage{usage},
	}
	c, err := sign(template, i.certificate, key.Public(), i.key)
	return issuer{c, key}, err
}

// Renewed gives the same authority with new issuers when two thirds of their
// life are over; false means that nothing is due. While the clock is not
// synchronised nothing is.
func (a *Authority) Renewed(gateway string, m Moment, src *ids.Source) (*Authority, bool, error) {
	if !m.Synced || !worn(a.servers.certificate, m) && !worn(a.devices.certificate, m) {
		return a, false, nil
	}
	next := &Authority{root: a.root}
	return next, true, next.issue(gateway, m, src)
}

// worn reports whether two thirds of a certificate's life are over.
func worn(c *x509.Certificate, m Moment) bool {
	return m.Time().After(c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) / 3 * 2))
}

// Encode gives the files of the authority: certificates in PEM, keys as PKCS#8.
func (a *Authority) Encode() (map[string][]byte, error) {
	files := make(map[string][]byte, 6)
	for i, part := range []issuer{a.root, a.servers, a.devices} {
		der, err := x509.MarshalPKCS8PrivateKey(part.key)
		if err != nil {
			return nil, fmt.Errorf("pki encode authority: %w", err)
		}
		files[Files()[2*i]] = EncodeCertificate(part.certificate)
		files[Files()[2*i+1]] = encode("PRIVATE KEY", der)
	}
	return files, nil
}

// LoadAuthority reads what Encode wrote. It proves that keys and certificates
// belong together, not that they are still valid.
func LoadAuthority(files map[string][]byte) (*Authority, error) {
	var a Authority
	for i, part := range []*issuer{&a.root, &a.servers, &a.devices} {
		name, err := Files()[2*i], error(nil)
		if part.certificate, err = ParseCertificate(files[name]); err != nil {
			return nil, fmt.Errorf("pki load %s: %w", name, err)
		}
		if part.key, err = parseKey(files[Files()[2*i+1]]); err != nil {
			return nil, fmt.Errorf("pki load %s: %w", Files()[2*i+1], err)
		}
		if public, ok := part.certificate.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(part.key.Public()) {
			return nil, fmt.Errorf("pki load %s: the key is not that of the certificate", name)
		}
		if err := part.certificate.CheckSignatureFrom(a.root.certificate); err != nil {
			return nil, fmt.Errorf("pki load %s: not signed by %s: %w", name, RootCertificate, err)
		}
	}
	return &a, nil
}

// Root is the certificate that clients must trust: `ca.pem`.
func (a *Authority) Root() *x509.Certificate { return a.root.certificate }

// Devices is the issuer of device certificates.
func (a *Authority) Devices() *x509.Certificate { return a.devices.certificate }

// sign makes a certificate and reads it back.
func sign(template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// serial draws 128 random bits; the first one is cleared (a positive number)
// and the second set (never zero, one length).
func serial(src *ids.Source) *big.Int {
	b := src.Bytes(16)
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b)
}

// label cuts a common name to the 64 characters X.509 allows.
func label(s string) string {
	if r := []rune(s); len(r) > 64 {
		return string(r[:64])
	}
	return s
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		a = b
	}
	return a.UTC().Truncate(time.Second)
}
