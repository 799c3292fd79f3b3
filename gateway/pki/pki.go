// Package pki makes, reads and judges keys and X.509 certificates: the local
// authority, certificates of devices and of the server, signing requests, and
// the identity of a certificate.
//
// It is pure cryptography: bytes in, bytes out. No file, no socket, no lock, no
// clock: the time is an argument (Moment), because a board without a battery
// clock must not believe its own (security.md 2.6). Keys are drawn from
// crypto/rand, serial numbers from ids. All functions may be called from any
// goroutine; an Authority does not change once made.
//
// Limits: PEM text of at most PEMBytesMax, chains of at most ChainMax
// certificates, RSA keys of 2048 to 8192 bits, P-256, P-384, P-521 and Ed25519;
// SHA-1 and MD5 signatures are refused. Making an RSA key takes up to seconds
// on a small board: not on a path that others wait for.
//
// What it does not do: remember which certificates exist (gateway/registry), or
// read files and serve TLS (gateway/pki/local).
package pki

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"regexp"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
)

const (
	// PEMBytesMax is the largest PEM text that is read.
	PEMBytesMax = 64 << 10
	// ChainMax is the most certificates in one PEM text.
	ChainMax   = 10
	rsaBitsMin = 2048
	rsaBitsMax = 8192
)

// Moment is what is known about the time (security.md 2.6).
type Moment struct {
	// Now is the wall clock.
	Now time.Time
	// Floor is a time that has certainly passed: of the build, or the newest on
	// disk.
	Floor time.Time
	// Synced is set when the wall clock is synchronised.
	Synced bool
}

// Time is the time that validity is checked against: never before the floor.
func (m Moment) Time() time.Time {
	if m.Now.Before(m.Floor) {
		return m.Floor
	}
	return m.Now
}

// start is notBefore of what is issued now: devices' clocks differ, and a clock
// that is not synchronised may run ahead, so the floor counts then.
func (m Moment) start() time.Time {
	if !m.Synced && !m.Floor.IsZero() {
		return m.Floor.Add(-time.Hour).UTC().Truncate(time.Second)
	}
	return m.Time().Add(-time.Hour).UTC().Truncate(time.Second)
}

var idForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

// ID is the certificate id: the SHA-256 of the DER in lower-case hex, as AWS
// has it.
func ID(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// ParseID checks a certificate id. A malformed one is an InvalidRequest error.
func ParseID(s string) (string, error) {
	if !idForm.MatchString(s) {
		return "", iot.Errorf(iot.InvalidRequest, "certificate id %.80q: want 64 hexadecimal digits in lower case", s)
	}
	return s, nil
}
