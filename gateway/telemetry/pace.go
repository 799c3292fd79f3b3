package telemetry

import "time"

// The steps of an uplink's rate (telemetry.md 9.1).
const (
	growEvery = 10 * time.Second
	growBy    = 1.1
	cutTo     = 0.5
	slowBy    = 3                      // times the baseline is slow
	slowOver  = 100 * time.Millisecond // and at least so much
	paceFloor = 1. / 64                // of the configured rate, which no cut goes below
)

// pace is the share of its configured rate that an uplink uses: halved when the
// far side shows that it is too much, and grown by a tenth every ten seconds
// that it does not. The zero value uses all of it. A rate of none stays none: then
// the window alone adapts.
type pace struct {
	cuts    bool // share counts
	share   float64
	turn    time.Time // of the last change
	base    time.Duration
	slowest time.Time // when an acknowledgement was slow last: cut once for all of one queue
}

// of is the rate now for the configured one.
func (p *pace) of(rate float64, now time.Time) float64 {
	for p.cuts && now.Sub(p.turn) >= growEvery {
		p.share, p.turn = p.share*growBy, p.turn.Add(growEvery)
		if p.share >= 1 {
			p.cuts = false
		}
	}
	if !p.cuts {
		return rate
	}
	return rate * p.share
}

// cut halves the rate.
func (p *pace) cut(now time.Time) {
	if !p.cuts {
		p.cuts, p.share = true, 1
	}
	p.share, p.turn = max(paceFloor, p.share*cutTo), now
}

// acked takes in how long an acknowledgement took. The baseline is the least so
// far, and drifts up, so that a path which has become longer is not slow for
// ever. What was sent before the last cut says nothing about the rate since.
func (p *pace) acked(took time.Duration, now time.Time) {
	if p.base == 0 || took < p.base {
		p.base = took
	}
	if took > slowBy*p.base && took > slowOver && now.Add(-took).After(p.slowest) {
		p.cut(now)
		p.slowest = now
	}
	p.base += (took - p.base) / 1024
}
