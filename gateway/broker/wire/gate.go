package wire

import (
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/tidehold/tidehold/gateway/ban"
	"github.com/tidehold/tidehold/gateway/bucket"
	"github.com/tidehold/tidehold/gateway/metrics"
)

// The figures of security.md T6; those of bans are gateway/ban's.
const (
	handshakesTotal   = 50 // per second
	handshakesAddress = 5  // per second
	handshakeBurst    = 20
	addressesMax      = 4096 // told apart at once; the others share the total alone
)

// Gate bounds TLS handshakes per second and bans addresses that fail to
// authenticate again and again. Loopback addresses always pass.
type Gate struct {
	mu    sync.Mutex
	total bucket.Bucket
	seen  bucket.Shelf[netip.Addr]
	bans  ban.Book[netip.Addr]

	banned *metrics.Counter
	log    *slog.Logger
}

// NewGate makes a gate that has seen nobody.
func NewGate(m *metrics.Registry, log *slog.Logger) *Gate {
	return &Gate{
		seen: bucket.Shelf[netip.Addr]{Rate: handshakesAddress, Burst: handshakeBurst, Max: addressesMax}, log: log,
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
	return g.seen.Take(addr, now) && g.total.Take(now, handshakesTotal, handshakesTotal)
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
