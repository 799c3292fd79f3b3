package telemetry

import (
	"slices"
	"time"
)

// The bounds of write elision (telemetry.md 7.1 and 7.2).
const (
	elideMin   = 200 * time.Millisecond // also that of class 0 and profile strict
	elideMax   = 2 * time.Second
	elideSaver = 24 * time.Hour // until the link drops
	saverBytes = 256 << 10      // or until so much is held

	ackTimesMax = 128
	ackTimesNew = 16 // after which p95 is computed again
)

// ackTimes remembers how long the last acknowledgements took.
type ackTimes struct {
	times []time.Duration // at most ackTimesMax
	at    int             // the oldest of them, once there are so many
	fresh int
	p95   time.Duration
}

// add takes in one.
func (a *ackTimes) add(d time.Duration) {
	if len(a.times) < ackTimesMax {
		a.times = append(a.times, d)
	} else {
		a.times[a.at] = d
		a.at = (a.at + 1) % ackTimesMax
	}
	if a.fresh++; a.fresh >= ackTimesNew || len(a.times) < ackTimesNew {
		sorted := slices.Sorted(slices.Values(a.times))
		a.p95, a.fresh = sorted[len(sorted)*95/100], 0
	}
}

// elide is for how long a message may wait for its acknowledgement before it is
// committed.
func (a *ackTimes) elide() time.Duration { return min(elideMax, max(elideMin, 2*a.p95)) }

// elide lets messages that come now wait for their acknowledgement: one of them
// came in time. Acknowledgements of the backlog say nothing about that.
func (p *pump) elide(c *parcel, took time.Duration) {
	p.u.mu.Lock()
	p.u.ackTimes.add(took)
	calm := p.u.ackTimes.elide()
	p.u.mu.Unlock()
	switch p.s.cfg.Profile {
	case Strict:
		calm = elideMin
	case Saver:
		calm = elideSaver
	}
	p.mu.Lock()
	lives := p.failed == nil && c.epoch == p.epoch
	p.mu.Unlock()
	if lives && !c.items[0].Back {
		p.k.Elide(calm, elideMin)
	}
}
