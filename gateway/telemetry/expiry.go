package telemetry

import (
	"strings"
	"time"

	"github.com/tidehold/tidehold/gateway/messages"
)

// ttlOf is how old a message may become before it is sent, 0 without a bound:
// its class decides, and the device (MQTT 5 message expiry), whichever is less.
// What the gateway says itself never expires.
func (s *Spool) ttlOf(r *messages.Record) (ttl time.Duration) {
	if strings.HasPrefix(r.Source, "sys/") {
		return 0
	}
	if c := s.class(r.Topic); c != nil {
		ttl = c.TTL
	}
	if p := r.Properties; p != nil && p.MessageExpiry > 0 {
		if d := time.Duration(p.MessageExpiry) * time.Second; ttl <= 0 || d < ttl {
			ttl = d
		}
	}
	return ttl
}

// expired reports whether a message is too old to be sent (telemetry.md 8.5).
func (s *Spool) expired(r *messages.Record) bool {
	ttl := s.ttlOf(r)
	return ttl > 0 && s.ageOf(r) >= ttl
}

// ageOf is the age of a message, by the time since boot when it is of this one.
// Over boots it takes a trusted clock at both ends; where two times of capture
// are known, that of the lesser age counts. An unknown age is zero: rather late
// than lost.
func (s *Spool) ageOf(r *messages.Record) time.Duration {
	if r.Boot == s.clk.Boot() {
		return s.clk.Up() - r.Up
	}
	if !s.synced.Load() {
		return 0
	}
	s.mu.Lock()
	offset, known := s.offsets[r.Boot]
	s.mu.Unlock()
	now := s.clk.Now()
	switch age, corrected := now.Sub(r.Wall), now.Sub(time.Unix(0, 0).Add(offset+r.Up)); {
	case known && r.Synced:
		return min(age, corrected)
	case known:
		return corrected
	case r.Synced:
		return age
	}
	return 0
}
