package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tidehold/tidehold/gateway/ids"
	"github.com/tidehold/tidehold/gateway/iot"
)

// Lives of certificates (security.md 2.2 to 2.4).
const (
	DeviceLife = 2 * 365 * 24 * time.Hour
	ServerLife = 90 * 24 * time.Hour
	// ClaimLife is the life of a provisioning claim's certificate.
	ClaimLife = 5 * time.Minute
)

// DeviceName is the common name of a device certificate without a label, AWS's.
const DeviceName = "AWS IoT Certificate"

// Device says what a device certificate should be; zero values mean DeviceName,
// DeviceLife and RSA2048.
type Device struct {
	CommonName string
	Life       time.Duration
	Key        KeyKind
}

// CreateDevice makes a key and its certificate.
func (a *Authority) CreateDevice(d Device, m Moment, src *ids.Source) (*x509.Certificate, KeyPair, error) {
	key, err := newKey(d.Key)
	if err != nil {
		return nil, KeyPair{}, fmt.Errorf("pki make device key: %w", err)
	}
	pair, err := encodePair(key)
	if err != nil {
		return nil, KeyPair{}, err
	}
	if d.CommonName == "" {
		d.CommonName = DeviceName
	}
	c, err := a.device(pkix.Name{CommonName: label(d.CommonName)}, d.Life, key.Public(), m, src)
	return c, pair, err
}

// SignCSR makes a certificate of a request's subject and key; everything else
// the request asks for is ignored. The same request twice gives two
// certificates.
func (a *Authority) SignCSR(csr *x509.CertificateRequest, m Moment, src *ids.Source) (*x509.Certificate, error) {
	subject := csr.Subject
	if len(csr.Subject.Names) == 0 {
		subject = pkix.Name{CommonName: DeviceName}
	}
	c, err := a.device(subject, 0, csr.PublicKey, m, src)
	if err != nil {
		return nil, iot.Errorf(iot.InvalidRequest, "the certificate signing request is refused: %v", err)
	}
	return c, nil
}

func (a *Authority) device(subject pkix.Name, life time.Duration, public crypto.PublicKey, m Moment, src *ids.Source) (*x509.Certificate, error) {
	if err := CheckKey(public); err != nil {
		return nil, err
	}
	if life == 0 {
		life = DeviceLife
	}
	template := &x509.Certificate{
		SerialNumber: serial(src), Subject: subject, NotBefore: m.start(), NotAfter: m.Time().Add(life).UTC().Truncate(time.Second),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true,
	}
	c, err := sign(template, a.devices.certificate, public, a.devices.key)
	if err != nil {
		return nil, fmt.Errorf("pki sign device certificate: %w", err)
	}
	return c, nil
}

// Names are what a server certificate stands for.
type Names struct {
	DNS       []string
	Addresses []netip.Addr
}

// sorted gives the names in one order, each once: DNS names in lower case,
// addresses without zone.
func (n Names) sorted() Names {
	var s Names
	for _, name := range n.DNS {
		if name = strings.ToLower(strings.TrimSuffix(name, ".")); name != "" {
			s.DNS = append(s.DNS, name)
		}
	}
	for _, a := range n.Addresses {
		s.Addresses = append(s.Addresses, a.Unmap().WithZone(""))
	}
	slices.Sort(s.DNS)
	slices.SortFunc(s.Addresses, netip.Addr.Compare)
	s.DNS, s.Addresses = slices.Compact(s.DNS), slices.Compact(s.Addresses)
	return s
}

// Server is a server certificate with its chain and key.
type Server struct {
	// Chain is the leaf and its issuer, as they are sent.
	Chain []*x509.Certificate
	Key   crypto.Signer
}

// CreateServer makes a key and a certificate for all names.
func (a *Authority) CreateServer(names Names, m Moment, src *ids.Source) (*Server, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("pki make server key: %w", err)
	}
	names = names.sorted()
	template := &x509.Certificate{
		SerialNumber: serial(src), Subject: pkix.Name{CommonName: "Tidehold gateway"}, DNSNames: names.DNS,
		NotBefore: m.start(), NotAfter: m.Time().Add(ServerLife).UTC().Truncate(time.Second),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	for _, address := range names.Addresses {
		template.IPAddresses = append(template.IPAddresses, address.AsSlice())
	}
	leaf, err := sign(template, a.servers.certificate, key.Public(), a.servers.key)
	if err != nil {
		return nil, fmt.Errorf("pki sign server certificate: %w", err)
	}
	return &Server{Chain: []*x509.Certificate{leaf, a.servers.certificate}, Key: key}, nil
}

// Due reports why a new server certificate is needed; empty means it is not.
// Other names are due at once, age only while the clock is synchronised
// (security.md 2.4, 2.6).
func (s *Server) Due(names Names, m Moment) string {
	leaf := s.Chain[0]
	has := Names{DNS: leaf.DNSNames}
	for _, ip := range leaf.IPAddresses {
		if a, ok := netip.AddrFromSlice(ip); ok {
			has.Addresses = append(has.Addresses, a)
		}
	}
	has, names = has.sorted(), names.sorted()
	switch {
	case !slices.Equal(has.DNS, names.DNS) || !slices.Equal(has.Addresses, names.Addresses):
		return "its names or addresses have changed"
	case m.Synced && worn(leaf, m):
		return "two thirds of its life are over"
	}
	return ""
}

// EncodeServer gives the chain and the key of a server certificate in PEM.
func EncodeServer(s *Server) (chain, key []byte, err error) {
	der, err := x509.MarshalPKCS8PrivateKey(s.Key)
	if err != nil {
		return nil, nil, fmt.Errorf("pki encode server key: %w", err)
	}
	for _, c := range s.Chain {
		chain = append(chain, EncodeCertificate(c)...)
	}
	return chain, encode("PRIVATE KEY", der), nil
}
