package pki

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"

	"github.com/tidehold/tidehold/gateway/iot"
)

// EncodeCertificate gives the PEM form of a certificate.
func EncodeCertificate(c *x509.Certificate) []byte { return encode("CERTIFICATE", c.Raw) }

// ParseCertificate reads the first certificate of a PEM text. An unreadable one
// is a CertificateInvalid error; its key and signature are not judged.
func ParseCertificate(text []byte) (*x509.Certificate, error) {
	chain, err := ParseChain(text)
	if err != nil {
		return nil, err
	}
	return chain[0], nil
}

// ParseChain reads every certificate of a PEM text, at least one and at most
// ChainMax. Other blocks, private keys among them, are refused.
func ParseChain(text []byte) (chain []*x509.Certificate, err error) {
	err = blocks(text, func(b *pem.Block) error {
		if b.Type != "CERTIFICATE" {
			return iot.Errorf(iot.CertificateInvalid, "PEM block %.40q: want a CERTIFICATE", b.Type)
		}
		if len(chain) == ChainMax {
			return iot.Errorf(iot.CertificateInvalid, "more than %d certificates", ChainMax)
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return &iot.Error{Code: iot.CertificateInvalid, Message: "the certificate cannot be read: " + err.Error(), Err: err}
		}
		chain = append(chain, c)
		return nil
	})
	if err == nil && len(chain) == 0 {
		err = iot.Errorf(iot.CertificateInvalid, "no PEM certificate found; it begins with -----BEGIN CERTIFICATE-----")
	}
	return chain, err
}

// blocks calls f for every PEM block. Text around blocks is skipped, as openssl
// writes it.
func blocks(text []byte, f func(*pem.Block) error) error {
	if len(text) > PEMBytesMax {
		return iot.Errorf(iot.CertificateInvalid, "PEM text of %d bytes; at most %d", len(text), PEMBytesMax)
	}
	for rest := text; ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			return nil
		}
		if err := f(b); err != nil {
			return err
		}
	}
}

// ParseCSR reads a signing request, and proves that the asker holds its key.
// A bad one is an InvalidRequest error, as at AWS.
func ParseCSR(text []byte) (*x509.CertificateRequest, error) {
	var csr *x509.CertificateRequest
	err := blocks(text, func(b *pem.Block) (err error) {
		if b.Type != "CERTIFICATE REQUEST" && b.Type != "NEW CERTIFICATE REQUEST" || csr != nil {
			return iot.Errorf(iot.InvalidRequest, "PEM block %.40q: want one CERTIFICATE REQUEST", b.Type)
		}
		csr, err = x509.ParseCertificateRequest(b.Bytes)
		return err
	})
	if err == nil && csr == nil {
		err = iot.Errorf(iot.InvalidRequest, "no PEM request found; it begins with -----BEGIN CERTIFICATE REQUEST-----")
	}
	if err == nil {
		err = proveCSR(csr)
	}
	if err != nil {
		return nil, &iot.Error{Code: iot.InvalidRequest, Message: "the certificate signing request is refused: " + err.Error(), Err: err}
	}
	return csr, nil
}

func proveCSR(csr *x509.CertificateRequest) error {
	if err := checkSignature(csr.SignatureAlgorithm); err != nil {
		return err
	}
	if err := CheckKey(csr.PublicKey); err != nil {
		return err
	}
	return csr.CheckSignature()
}

// parseKey reads a PKCS#8 key that this package wrote.
func parseKey(text []byte) (crypto.Signer, error) {
	b, rest := pem.Decode(text)
	if b == nil || b.Type != "PRIVATE KEY" || len(bytes.TrimSpace(rest)) > 0 {
		return nil, fmt.Errorf("want one PEM block PRIVATE KEY")
	}
	key, err := x509.ParsePKCS8PrivateKey(b.Bytes)
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a key of type %T cannot sign", key)
	}
	return signer, nil
}
