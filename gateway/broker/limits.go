package broker

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	paceBurst    = 2                // seconds of rate that may come at once
	pacePatience = 10 * time.Second // over the rate without pause: disconnected
)

// pacer is a token bucket over messages and one over bytes. The zero pacer
// lets everything pass.
type pacer struct {
	rate, bytes           float64 // per second, 0 = no limit
	spentRate, spentBytes float64
	last                  time.Time
	since                 time.Time // over the rate without pause since
}

func (p *pacer) free() bool { return p.rate == 0 && p.bytes == 0 }

// take books one message of n bytes at now and tells how long to wait before
// acting on it; over means that patience is at its end.
func (p *pacer) take(now time.Time, n int) (wait time.Duration, over bool) {
	passed := now.Sub(p.last).Seconds()
	p.last = now
	wait = max(spend(&p.spentRate, p.rate, passed, 1), spend(&p.spentBytes, p.bytes, passed, float64(n)))
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

// connectionsFor is the default of max_connections for a memory size
// (security.md T11).
func connectionsFor(bytes uint64) int {
	switch {
	case bytes < 768<<20:
		return 500
	case bytes < 3<<30:
		return 2000
	}
	return 10000
}

// memoryBytes is the host's memory; 0 when it cannot be read.
func memoryBytes() uint64 {
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

const (
	quietFor  = 10 * time.Second // one log line per subject
	quietKeys = 1024             // subjects remembered
)

// quiet lets one log line per key and 10 s through and counts the rest.
type quiet struct {
	mu   sync.Mutex
	keys map[string]*hush
}

type hush struct {
	until  time.Time
	missed int
}

// pass tells whether to log now, and how many lines were swallowed before.
func (q *quiet) pass(key string, now time.Time) (missed int, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	h := q.keys[key]
	if h != nil && now.Before(h.until) {
		h.missed++
		return 0, false
	}
	if h == nil {
		if q.keys == nil || len(q.keys) >= quietKeys {
			q.keys = make(map[string]*hush)
		}
		h = &hush{}
		q.keys[key] = h
	}
	missed, h.missed, h.until = h.missed, 0, now.Add(quietFor)
	return missed, true
}

// denied counts a refusal and logs it, rate limited (security.md 1.6).
func (b *Broker) denied(action string, c *client, resource string, err error) {
	b.count.denied.Inc(action)
	missed, ok := b.denials.pass(string(c.public.ID)+"\x00"+action+"\x00"+resource, time.Now())
	if ok {
		b.log.Warn("authz.denied", "client", c.public.ID, "principal", c.public.Principal.ID,
			"action", action, "topic", resource, "err", err, "missed", missed)
	}
}
