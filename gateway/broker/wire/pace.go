package wire

import (
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/tidehold/tidehold/gateway/bucket"
)

const (
	paceBurst    = 2                // seconds of rate that may come at once
	pacePatience = 10 * time.Second // over the rate without pause: disconnected
)

// Pacer is a token bucket over messages and one over bytes, for one reading
// goroutine. The zero Pacer lets everything pass.
type Pacer struct {
	Rate, Bytes     float64 // per second, 0 = no limit
	messages, bytes bucket.Bucket
	since           time.Time // over the rate without pause since
}

// Free reports whether there is no limit.
func (p *Pacer) Free() bool { return p.Rate == 0 && p.Bytes == 0 }

// Take books one message of n bytes at now and tells how long to wait before
// acting on it; over means that patience is at its end.
func (p *Pacer) Take(now time.Time, n int) (wait time.Duration, over bool) {
	wait = max(p.messages.Spend(now, p.Rate, paceBurst*p.Rate, 1), p.bytes.Spend(now, p.Bytes, paceBurst*p.Bytes, float64(n)))
	if wait <= 0 {
		p.since = time.Time{}
		return 0, false
	}
	if p.since.IsZero() {
		p.since = now
	}
	return wait, now.Sub(p.since) > pacePatience
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
