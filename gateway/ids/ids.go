// Package ids is the one source of randomness in the house: identifiers,
// tokens and jitter are drawn from one reader, so that a simulated world can
// replay them.
package ids

import (
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// Source draws random values. Safe for use by several goroutines.
type Source struct {
	mu sync.Mutex
	r  io.Reader
}

// New draws from r, crypto/rand.Reader in production. A reader that fails is
// a broken host: every method panics then.
func New(r io.Reader) *Source { return &Source{r: r} }

// Bytes gives n random bytes.
func (s *Source) Bytes(n int) []byte {
	b := make([]byte, n)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := io.ReadFull(s.r, b); err != nil {
		panic(fmt.Sprintf("ids: read %d random bytes: %v", n, err))
	}
	return b
}

// UUID gives a version 4 UUID in lower case.
func (s *Source) UUID() string {
	b := s.Bytes(16)
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// Token gives bits/5 characters of lower-case base32 without padding; bits is
// a multiple of 40. Token(40) is an incarnation (telemetry.md 3.1).
func (s *Source) Token(bits int) string {
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(s.Bytes(bits / 8)))
}

// Jitter gives a duration in [0, limit): full jitter of a back-off.
func (s *Source) Jitter(limit time.Duration) time.Duration {
	if limit <= 0 {
		return 0
	}
	return time.Duration(binary.BigEndian.Uint64(s.Bytes(8)) % uint64(limit))
}
