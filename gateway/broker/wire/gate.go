package wire

import (
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/tidehold/tidehold/gateway/ban"
	"github.com/tidehold/tidehold/gateway/metrics"
)

// The figures of security.md T6; those of bans are gateway/ban's.
const (
	handshakesTotal   = 50 // per second
	handshakesAddress = 5  // per second
	handshakeBurst    = 20
	// refilled is how long an address needs to have its whole burst again: it can
	// be forgotten then.
	refilled     = handshakeBurst * time.Second / handshakesAddress
	addressesMax = 4096 // told apart at once; the others share the total alone
)

// Gate bounds TLS handshakes per second and bans addresses that fail to
// authenticate again and again. Loopback addresses always pass.
type Gate struct {
	mu    sync.Mutex
	total bucket
	seen  map[netip.Addr]*bucket
	bans  ban.Book[netip.Addr]

	banned *metrics.Counter
	log    *slog.Logger
}

// bucket is a token bucket; the zero bucket is full.
type bucket struct {
	spent float64
	last  time.Time
}

// take takes one token of a bucket that refills at rate and holds burst.
func (b *bucket) take(now time.Time, rate, burst float64) bool {
	b.spent = max(0, b.spent-now.Sub(b.last).Seconds()*rate)
	b.last = now
	if b.spent+1 > burst {
		return false
	}
	b.spent++
	return true
}

// NewGate makes a gate that has seen nobody.
func NewGate(m *metrics.Registry, log *slog.Logger) *Gate {
	return &Gate{
		seen: make(map[netip.Addr]*bucket), log: log,
		banned: m.Counter("mqtt_bans_total", "Bans of addresses that failed to authenticate ten times within a minute."),
	}
}

// Banned reports whether addr is banned at now.
func (g *Gate) Banned(addr netip.Addr, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.bans.Left(addr, now) > 0
}

// Handshake reports whether addr may start a TLS handshake at now.
func (g *Gate) Handshake(addr netip.Addr, now time.Time) bool {
	if addr.IsLoopback() {
		return true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	own := g.bucket(addr, now)
	return (own == nil || own.take(now, handshakesAddress, handshakeBurst)) && g.total.take(now, handshakesTotal, handshakesTotal)
}

// Failed counts a failed authentication, which may ban addr.
func (g *Gate) Failed(addr netip.Addr, now time.Time) {
	if addr.IsLoopback() {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.bans.Failed(addr, now) {
		g.banned.Inc()
		g.log.Warn("an address failed to authenticate too often and is banned", "remote", addr, "for", g.bans.Left(addr, now))
	}
}

// bucket finds the tokens of an address; nil while there is no room for them.
func (g *Gate) bucket(addr netip.Addr, now time.Time) *bucket {
	if b := g.seen[addr]; b != nil {
		return b
	}
	if len(g.seen) >= addressesMax {
		for known, b := range g.seen {
			if now.Sub(b.last) > refilled {
				delete(g.seen, known)
			}
		}
	}
	if len(g.seen) >= addressesMax {
		return nil
	}
	b := &bucket{}
	g.seen[addr] = b
	return b
}
