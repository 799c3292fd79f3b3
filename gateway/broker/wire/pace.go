package wire

import (
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	paceBurst    = 2                // seconds of rate that may come at once
	pacePatience = 10 * time.Second // over the rate without pause: disconnected
)

// Pacer is a token bucket over messages and one over bytes, for one reading
// goroutine. The zero Pacer lets everything pass.
type Pacer struct {
	Rate, Bytes           float64 // per second, 0 = no limit
	spentRate, spentBytes float64
	last                  time.Time
	since                 time.Time // over the rate without pause since
}

// Free reports whether there is no limit.
func (p *Pacer) Free() bool { return p.Rate == 0 && p.Bytes == 0 }

// Take books one message of n bytes at now and tells how long to wait before
// acting on it; over means that patience is at its end.
func (p *Pacer) Take(now time.Time, n int) (wait time.Duration, over bool) {
	passed := now.Sub(p.last).Seconds()
	p.last = now
	wait = max(spend(&p.spentRate, p.Rate, passed, 1), spend(&p.spentBytes, p.Bytes, passed, float64(n)))
	if wait <= 0 {
		p.since = time.Time{}
		return 0, false
	}
	if p.since.IsZero() {
		p.since = now
	}
	return wait, now.Sub(p.since) > pacePatience
}

func spend(spent *float64, rate, passed, n float64) time.Duration {
	if rate == 0 {
		return 0
	}
	*spent = max(0, *spent-passed*rate) + n
	return time.Duration((*spent - paceBurst*rate) / rate * float64(time.Second))
}

// ConnectionsFor is the default of max_connections for a memory size
// (security.md T11).
func ConnectionsFor(bytes uint64) int {
	switch {
	case bytes < 768<<20:
		return 500
	case bytes < 3<<30:
		return 2000
	}
	return 10000
}

// MemoryBytes is the host's memory; 0 when it cannot be read.
func MemoryBytes() uint64 {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 || fields[0] != "MemTotal:" {
		return 0
	}
	kib, _ := strconv.ParseUint(fields[1], 10, 64)
	return kib << 10
}
