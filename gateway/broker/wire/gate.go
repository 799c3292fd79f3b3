package wire

import (
	"net/netip"
	"sync"
	"time"
)

// The figures of security.md T6.
const (
	handshakesTotal   = 50 // per second
	handshakesAddress = 5  // per second
	handshakeBurst    = 20
	failuresMax       = 10 // within failureWindow: banned
	failureWindow     = time.Minute
	banMin            = time.Minute
	banMax            = time.Hour
	addressesMax      = 4096 // remembered at once
)

// Gate bounds TLS handshakes per second and bans addresses that fail to
// authenticate again and again. Loopback addresses always pass.
type Gate struct {
	mu    sync.Mutex
	total bucket
	seen  map[netip.Addr]*visitor
}

type visitor struct {
	tokens      bucket
	failures    int
	firstFail   time.Time
	ban         time.Duration
	bannedUntil time.Time
	last        time.Time
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
func NewGate() *Gate { return &Gate{seen: make(map[netip.Addr]*visitor)} }

// Banned reports whether addr is banned at now.
func (g *Gate) Banned(addr netip.Addr, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	v := g.seen[addr]
	return v != nil && now.Before(v.bannedUntil)
}

// Handshake reports whether addr may start a TLS handshake at now.
func (g *Gate) Handshake(addr netip.Addr, now time.Time) bool {
	if addr.IsLoopback() {
		return true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.visitor(addr, now).tokens.take(now, handshakesAddress, handshakeBurst) &&
		g.total.take(now, handshakesTotal, handshakesTotal)
}

// Failed counts a failed authentication; the tenth within a minute bans the
// address, each time twice as long, up to an hour.
func (g *Gate) Failed(addr netip.Addr, now time.Time) {
	if addr.IsLoopback() {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	v := g.visitor(addr, now)
	if now.Sub(v.firstFail) > failureWindow {
		v.failures, v.firstFail = 0, now
	}
	if v.failures++; v.failures < failuresMax {
		return
	}
	v.failures = 0
	v.ban = min(max(2*v.ban, banMin), banMax)
	v.bannedUntil = now.Add(v.ban)
}

func (g *Gate) visitor(addr netip.Addr, now time.Time) *visitor {
	v := g.seen[addr]
	if v == nil {
		if len(g.seen) >= addressesMax {
			g.forget(now)
		}
		v = &visitor{}
		g.seen[addr] = v
	}
	v.last = now
	return v
}

// forget drops whoever has been away for longer than any ban, and if that is
// nobody, everybody who is not banned.
func (g *Gate) forget(now time.Time) {
	for addr, v := range g.seen {
		if now.Sub(v.last) > banMax {
			delete(g.seen, addr)
		}
	}
	for addr, v := range g.seen {
		if len(g.seen) < addressesMax {
			return
		}
		if !now.Before(v.bannedUntil) {
			delete(g.seen, addr)
		}
	}
}
