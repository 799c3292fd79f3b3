package access

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"

	"github.com/tidehold/tidehold/gateway/iot"
)

const (
	// hashesMax is how many passwords are checked at once: each argon2 costs
	// its memory.
	hashesMax = 2
	// hashWait is how long a connection waits for its turn.
	hashWait = 5 * time.Second
)

// Limits of a hash's own parameters: a hash from a file must not take the board
// down.
const (
	argonMemoryMax = 256 << 10 // KiB
	argonTimeMax   = 16
	argonLanesMax  = 16
	bcryptCostMax  = 15
)

// Parameters of HashPassword (OWASP's for argon2id).
const (
	argonMemory = 19 << 10 // KiB
	argonTime   = 2
	argonLanes  = 1
)

// Hash is a parsed password hash. The zero Hash matches no password.
type Hash struct {
	bcrypt       []byte
	memory, time uint32
	lanes        uint8
	salt, want   []byte
}

// ParseHash reads `$argon2id$v=19$m=KiB,t=N,p=N$salt$hash` or bcrypt's
// `$2a$...`, `$2b$...`, `$2y$...`.
func ParseHash(text string) (Hash, error) {
	if strings.HasPrefix(text, "$argon2id$") {
		return parseArgon(text)
	}
	if strings.HasPrefix(text, "$2") {
		cost, err := bcrypt.Cost([]byte(text))
		if err != nil {
			return Hash{}, fmt.Errorf("bcrypt hash: %w", err)
		}
		if cost > bcryptCostMax {
			return Hash{}, fmt.Errorf("bcrypt hash: cost %d, at most %d is allowed", cost, bcryptCostMax)
		}
		return Hash{bcrypt: []byte(text)}, nil
	}
	return Hash{}, errors.New("want an argon2id ($argon2id$...) or bcrypt ($2b$...) hash, made by `tidehold user`")
}

func parseArgon(text string) (Hash, error) {
	fields := strings.Split(text, "$") // "", argon2id, v=19, m=..., salt, hash
	if len(fields) != 6 || fields[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return Hash{}, errors.New("argon2id hash: want $argon2id$v=19$m=KiB,t=N,p=N$salt$hash")
	}
	var h Hash
	var end string
	if n, _ := fmt.Sscanf(fields[3]+";", "m=%d,t=%d,p=%d%s", &h.memory, &h.time, &h.lanes, &end); n != 4 || end != ";" {
		return Hash{}, fmt.Errorf("argon2id hash: parameters %q: want m=KiB,t=N,p=N", fields[3])
	}
	if h.memory < 8 || h.memory > argonMemoryMax || h.time < 1 || h.time > argonTimeMax || h.lanes < 1 || h.lanes > argonLanesMax {
		return Hash{}, fmt.Errorf("argon2id hash: parameters %q are outside m=8..%d, t=1..%d, p=1..%d", fields[3], argonMemoryMax, argonTimeMax, argonLanesMax)
	}
	var err, err2 error
	h.salt, err = base64.RawStdEncoding.Strict().DecodeString(fields[4])
	h.want, err2 = base64.RawStdEncoding.Strict().DecodeString(fields[5])
	if err != nil || err2 != nil || len(h.salt) < 8 || len(h.salt) > 64 || len(h.want) < 16 || len(h.want) > 64 {
		return Hash{}, errors.New("argon2id hash: salt and hash are base64 without padding, of 8..64 and 16..64 bytes")
	}
	return h, nil
}

// HashPassword makes an argon2id hash with a random salt, in ParseHash's form.
func HashPassword(password []byte, src Random) string {
	salt := src.Bytes(16)
	sum := argon2.IDKey(password, salt, argonTime, argonMemory, argonLanes, 32)
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime, argonLanes, b64(salt), b64(sum))
}

// Matches reports whether password is the one; it takes its time on purpose.
func (h Hash) Matches(password []byte) bool {
	switch {
	case h.bcrypt != nil:
		return bcrypt.CompareHashAndPassword(h.bcrypt, password) == nil
	case h.want == nil:
		return false
	}
	sum := argon2.IDKey(password, h.salt, h.time, h.memory, h.lanes, uint32(len(h.want)))
	return subtle.ConstantTimeCompare(sum, h.want) == 1
}

// passwords checks passwords, few at a time. A password that was right once is
// remembered as a keyed digest until the users change, so that devices that
// reconnect together do not wait for each other's argon2.
type passwords struct {
	turns chan struct{}
	key   []byte
	none  Hash // checked for unknown names: they must not answer faster

	mu     *sync.Mutex
	proven map[string][sha256.Size]byte
}

func newPasswords(src Random) passwords {
	none := Hash{memory: argonMemory, time: argonTime, lanes: argonLanes, salt: src.Bytes(16), want: src.Bytes(32)}
	return passwords{turns: make(chan struct{}, hashesMax), key: src.Bytes(32), none: none, mu: new(sync.Mutex), proven: make(map[string][sha256.Size]byte)}
}

func (p *passwords) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.proven)
}

// check gives an Unauthorized error for a wrong name or password, the same for
// both, and Throttled when the turn did not come.
func (p *passwords) check(name string, h Hash, known bool, password []byte) error {
	digest := p.digest(name, h, password)
	if known && p.isProven(name, digest) {
		return nil
	}
	if !p.turn() {
		return iot.Errorf(iot.Throttled, "too many clients log in at once; try again later")
	}
	defer func() { <-p.turns }()
	if !known {
		h = p.none
	}
	if !h.Matches(password) || !known {
		return iot.Errorf(iot.Unauthorized, "user name or password is wrong")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.proven[name] = digest
	return nil
}

// digest covers the hash too: a digest stored by a check that was under way
// while the users changed proves nothing afterwards.
func (p *passwords) digest(name string, h Hash, password []byte) [sha256.Size]byte {
	mac := hmac.New(sha256.New, p.key)
	for _, part := range [][]byte{[]byte(name), h.bcrypt, h.salt, h.want, password} {
		fmt.Fprintf(mac, "%d:", len(part))
		mac.Write(part)
	}
	return [sha256.Size]byte(mac.Sum(nil))
}

func (p *passwords) isProven(name string, digest [sha256.Size]byte) bool {
	p.mu.Lock()
	have, ok := p.proven[name]
	p.mu.Unlock()
	return ok && hmac.Equal(have[:], digest[:])
}

func (p *passwords) turn() bool {
	timer := time.NewTimer(hashWait)
	defer timer.Stop()
	select {
	case p.turns <- struct{}{}:
		return true
	case <-timer.C:
		return false
	}
}
