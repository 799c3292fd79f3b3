package shadow

import (
	"sync"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
)

// bucketsMax is how many shadows are remembered by the rate limit before those
// with a full allowance are forgotten.
const bucketsMax = 4096

// counter counts the unanswered requests of each connection.
type counter struct {
	max int
	mu  sync.Mutex
	n   map[iot.ClientID]int
}

// enter counts a request of c, or refuses it at the limit. Whoever has no
// client id (the house itself) and a limit of 0 are not counted.
func (c *counter) enter(id iot.ClientID) (counted, ok bool) {
	if c.max <= 0 || id == "" {
		return false, true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = make(map[iot.ClientID]int)
	}
	if c.n[id] >= c.max {
		return false, false
	}
	c.n[id]++
	return true, true
}

func (c *counter) leave(id iot.ClientID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n[id]--; c.n[id] <= 0 {
		delete(c.n, id)
	}
}

// buckets is a token bucket for each shadow: perSecond requests, as many at
// once as in one second.
type buckets struct {
	perSecond float64
	mu        sync.Mutex
	m         map[iot.ShadowKey]bucket
}

type bucket struct {
	left float64
	at   time.Time
}

func (b *buckets) allow(key iot.ShadowKey, now time.Time) bool {
	if b.perSecond <= 0 {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.m == nil || len(b.m) >= bucketsMax {
		b.forgetFull(now)
	}
	k, known := b.m[key]
	if !known {
		k = bucket{left: b.burst(), at: now}
	}
	k.left, k.at = b.refilled(k, now), now
	ok := k.left >= 1
	if ok {
		k.left--
	}
	b.m[key] = k
	return ok
}

func (b *buckets) burst() float64 { return max(1, b.perSecond) }

// refilled is what k holds at now; a clock that went back refills nothing.
func (b *buckets) refilled(k bucket, now time.Time) float64 {
	return min(b.burst(), k.left+max(0, now.Sub(k.at).Seconds())*b.perSecond)
}

// forgetFull drops buckets that hold all they can: they are as good as new.
func (b *buckets) forgetFull(now time.Time) {
	kept := make(map[iot.ShadowKey]bucket)
	for key, k := range b.m {
		if b.refilled(k, now) < b.burst() {
			kept[key] = k
		}
	}
	b.m = kept
}
