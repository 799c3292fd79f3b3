package pki

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"

	"github.com/tidehold/tidehold/gateway/iot"
)

// CheckCertificate refuses certificates whose key or signature is too weak:
// CertificateInvalid.
func CheckCertificate(c *x509.Certificate) error {
	if err := checkSignature(c.SignatureAlgorithm); err != nil {
		return err
	}
	return CheckKey(c.PublicKey)
}

// CheckValidity refuses a certificate outside its time: Unauthorized. The time
// is never before the floor (security.md 2.6).
func CheckValidity(c *x509.Certificate, m Moment) error {
	now := m.Time()
	if now.Before(c.NotBefore) {
		return iot.Errorf(iot.Unauthorized, "the certificate is valid from %v; it is %v now", c.NotBefore, now.UTC())
	}
	if now.After(c.NotAfter) {
		return iot.Errorf(iot.Unauthorized, "the certificate was valid until %v; it is %v now", c.NotAfter, now.UTC())
	}
	return nil
}

// VerifyChain proves that ca vouches for leaf, directly or through the
// intermediates, and that all of them are strong and within their time:
// CertificateInvalid.
func VerifyChain(leaf, ca *x509.Certificate, intermediates []*x509.Certificate, m Moment) error {
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(ca)
	for _, c := range intermediates[:min(len(intermediates), ChainMax)] {
		between.AddCert(c)
	}
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: m.Time(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return &iot.Error{Code: iot.CertificateInvalid, Message: "the certificate is not signed by this CA: " + err.Error(), Err: err}
	}
	for _, c := range chains[0] {
		if err := CheckCertificate(c); err != nil {
			return err
		}
	}
	return nil
}

// CheckCA refuses certificates that may not sign others.
func CheckCA(c *x509.Certificate) error {
	if !c.IsCA || !c.BasicConstraintsValid || c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0 {
		return iot.Errorf(iot.CertificateInvalid, "the certificate is not one of a CA: basic constraints must say CA:TRUE")
	}
	return CheckCertificate(c)
}

// attributeNames are the parts of a distinguished name that policies know
// (security.md 1.3), by object identifier.
var attributeNames = []struct {
	name string
	oid  asn1.ObjectIdentifier
}{
	{"CommonName", asn1.ObjectIdentifier{2, 5, 4, 3}},
	{"Surname", asn1.ObjectIdentifier{2, 5, 4, 4}},
	{"SerialNumber", asn1.ObjectIdentifier{2, 5, 4, 5}},
	{"Country", asn1.ObjectIdentifier{2, 5, 4, 6}},
	{"State", asn1.ObjectIdentifier{2, 5, 4, 8}},
	{"Organization", asn1.ObjectIdentifier{2, 5, 4, 10}},
	{"OrganizationalUnit", asn1.ObjectIdentifier{2, 5, 4, 11}},
	{"Title", asn1.ObjectIdentifier{2, 5, 4, 12}},
	{"GivenName", asn1.ObjectIdentifier{2, 5, 4, 42}},
	{"Initials", asn1.ObjectIdentifier{2, 5, 4, 43}},
	{"GenerationQualifier", asn1.ObjectIdentifier{2, 5, 4, 44}},
	{"DistinguishedNameQualifier", asn1.ObjectIdentifier{2, 5, 4, 46}},
	{"Pseudonym", asn1.ObjectIdentifier{2, 5, 4, 65}},
}

// NameValues are the values of a distinguished name, in the order of the
// certificate, under the names that policies use.
func NameValues(n pkix.Name) map[string][]string {
	values := make(map[string][]string)
	for _, part := range n.Names {
		i := slices.IndexFunc(attributeNames, func(a struct {
			name string
			oid  asn1.ObjectIdentifier
		}) bool {
			return a.oid.Equal(part.Type)
		})
		if text, ok := part.Value.(string); ok && i >= 0 {
			values[attributeNames[i].name] = append(values[attributeNames[i].name], text)
		}
	}
	return values
}
