package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"

	"github.com/tidehold/tidehold/gateway/iot"
)

// KeyKind is the kind of a new key.
type KeyKind string

// The kinds of keys made here: AWS's, and a smaller and faster one.
const (
	RSA2048 KeyKind = "rsa2048"
	P256    KeyKind = "p256"
)

// KeyPair is a new key in PEM: RSA as PKCS#1 (as AWS), P-256 as SEC 1. It is
// handed out once and never stored.
type KeyPair struct{ Private, Public []byte }

func newKey(kind KeyKind) (crypto.Signer, error) {
	switch kind {
	case RSA2048, "":
		return rsa.GenerateKey(rand.Reader, rsaBitsMin)
	case P256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	return nil, iot.Errorf(iot.InvalidRequest, "key %q: want %s or %s", kind, RSA2048, P256)
}

// encodePair gives the PEM forms of a new device key.
func encodePair(key crypto.Signer) (KeyPair, error) {
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return KeyPair{}, fmt.Errorf("pki encode public key: %w", err)
	}
	pair := KeyPair{Public: encode("PUBLIC KEY", public)}
	switch k := key.(type) {
	case *rsa.PrivateKey:
		pair.Private = encode("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(k))
	case *ecdsa.PrivateKey:
		der, err := x509.MarshalECPrivateKey(k)
		if err != nil {
			return KeyPair{}, fmt.Errorf("pki encode private key: %w", err)
		}
		pair.Private = encode("EC PRIVATE KEY", der)
	}
	return pair, nil
}

// CheckKey refuses public keys that are too weak, too large to verify on a small
// board, or of no kind TLS can use (security.md 2.2): CertificateInvalid.
func CheckKey(public any) error {
	switch k := public.(type) {
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < rsaBitsMin || bits > rsaBitsMax {
			return iot.Errorf(iot.CertificateInvalid, "RSA key of %d bits: want %d to %d", bits, rsaBitsMin, rsaBitsMax)
		}
		return nil
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256(), elliptic.P384(), elliptic.P521():
			return nil
		}
		return iot.Errorf(iot.CertificateInvalid, "curve %s: want P-256, P-384 or P-521", k.Curve.Params().Name)
	case ed25519.PublicKey:
		return nil
	}
	return iot.Errorf(iot.CertificateInvalid, "key of type %T: want RSA of %d bits and more, P-256, P-384, P-521 or Ed25519", public, rsaBitsMin)
}

// checkSignature refuses signatures over broken hashes.
func checkSignature(a x509.SignatureAlgorithm) error {
	switch a {
	case x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA, x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS,
		x509.SHA512WithRSAPSS, x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512, x509.PureEd25519:
		return nil
	}
	return iot.Errorf(iot.CertificateInvalid, "signature %v: want one over SHA-256, SHA-384 or SHA-512, or Ed25519", a)
}

// Movable reports whether a device with this key could also connect to AWS IoT
// Core, which knows no Ed25519.
func Movable(public any) bool {
	_, is := public.(ed25519.PublicKey)
	return !is
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
