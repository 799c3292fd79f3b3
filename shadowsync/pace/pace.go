// Package pace says when an uplink may be asked for the next thing, and how far
// its clock is from ours. Both are values: it is pure.
package pace

import "time"

// The back-off of shadow-sync.md 2.3: the first delay, and the longest.
const (
	DelayFirst = time.Second
	DelayMax   = 60 * time.Second
)

// Delay is how long to wait after so many failures in a row: full jitter below
// 1 s doubling to 60 s. jitter is in [0, 1).
func Delay(failures int, jitter float64) time.Duration {
	limit := DelayMax
	if failures < 7 {
		limit = min(DelayMax, DelayFirst<<max(failures-1, 0))
	}
	return time.Duration(jitter * float64(limit))
}

// Pace says when an uplink may be asked for the next thing: at most so many
// requests a second, and patience after trouble. It is a value.
type Pace struct {
	// Every is the least time between two requests; 0 is no limit.
	Every time.Duration

	failures int
	open     time.Time // no sync begins before
	slot     time.Time // no request goes out before
}

// Succeed ends the back-off.
func (p Pace) Succeed() Pace {
	p.failures = 0
	return p
}

// Fail lets nothing begin for a while, longer each time. Trouble that is told
// while the gate is closed already is the same trouble.
func (p Pace) Fail(now time.Time, jitter float64) Pace {
	if now.Before(p.open) {
		return p
	}
	p.failures++
	p.open = now.Add(Delay(p.failures, jitter))
	return p
}

// Reset forgets all trouble: there is a new connection.
func (p Pace) Reset() Pace { return Pace{Every: p.Every, slot: p.slot} }

// Open is when the next sync may begin.
func (p Pace) Open() time.Time { return p.open }

// Slot is when the next request may go out.
func (p Pace) Slot() time.Time { return p.slot }

// Take uses the slot at now.
func (p Pace) Take(now time.Time) Pace {
	p.slot = now.Add(p.Every)
	return p
}
