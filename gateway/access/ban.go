package access

import (
	"sync"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
)

// The figures of security.md T6, here per certificate. Addresses are banned
// where connections are accepted, before they cost a handshake.
const (
	failuresMax   = 10 // within failureWindow: banned
	failureWindow = time.Minute
	banMin        = time.Minute
	banMax        = time.Hour
	// offendersMax is how many certificates are told apart; beyond it a new one
	// is not banned by itself, only its address is.
	offendersMax = 4096
)

// bans remember the certificates whose connections are refused again and again,
// from whatever address. Times are monotonic.
type bans struct {
	mu   sync.Mutex
	seen map[string]*offender
}

type offender struct {
	failures          int
	first, until, ban time.Duration
}

// banned refuses a certificate that is banned now.
func (b *bans) banned(c *Client, up time.Duration) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	o := b.seen[c.Principal.ID]
	if !bannable(c) || o == nil || up >= o.until {
		return nil
	}
	return iot.Errorf(iot.Forbidden, "certificate %s was refused too often; try again in %v", c.Principal.ID, (o.until - up).Round(time.Second))
}

// failed counts a refused connection; the tenth within a minute bans the
// certificate, each time twice as long, up to an hour.
func (b *bans) failed(c *Client, up time.Duration) {
	if !bannable(c) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	o := b.offender(c.Principal.ID, up)
	if o == nil {
		return
	}
	if up-o.first > failureWindow {
		o.failures, o.first = 0, up
	}
	if o.failures++; o.failures < failuresMax {
		return
	}
	o.failures = 0
	o.ban = min(max(2*o.ban, banMin), banMax)
	o.until = up + o.ban
}

// offender finds a certificate, or remembers it while there is room.
func (b *bans) offender(id string, up time.Duration) *offender {
	if o := b.seen[id]; o != nil {
		return o
	}
	if b.seen == nil {
		b.seen = make(map[string]*offender)
	}
	if len(b.seen) >= offendersMax {
		for known, o := range b.seen {
			if up-max(o.first, o.until) > banMax {
				delete(b.seen, known)
			}
		}
	}
	if len(b.seen) >= offendersMax {
		return nil
	}
	o := &offender{first: up}
	b.seen[id] = o
	return o
}

// bannable: programs of this host are exempt.
func bannable(c *Client) bool {
	return c.Principal.Kind == iot.CertificateKind && !loopback(c.RemoteIP)
}
