// Package filter smooths, corrects and thins a signal.
//
// A Chain is an ordered list of filters as drivers.md section 2 names them; the
// order is the written one. Filters come in two sorts. Those that change a
// value (offset, median ...) and those that judge it (outlier, filter_out,
// skip_initial, debounce) say what the signal is. Those that thin it (delta,
// throttle, throttle_average, heartbeat, or) only say how often it is told. A
// Result has both views: Passed for who wants few writes, Live for who keeps
// an own period.
//
// The package is pure: time is an argument, counted on any clock that never
// steps back. Windows count accepted samples and are bounded by windowMax. NaN
// and infinities never leave a chain. A Chain is not safe for several
// goroutines.
package filter

import (
	"math"
	"time"
)

// windowMax bounds every window: larger ones are refused by Parse.
const windowMax = 10_000

// step is one filter. ok false means no sample arrives or leaves: filters that
// repeat or delay see every tick.
type step interface {
	apply(now time.Duration, v float64, ok bool) (float64, bool)
	// reset forgets what a fault made worthless.
	reset()
}

// role says what a dropped sample means for the live view.
type role int

const (
	mapping  role = iota // a function of the value alone
	judging              // a dropped sample is not the signal
	thinning             // a dropped sample is still the signal
)

type link struct {
	name string
	step step
	role role
}

// Result is what a chain makes of one sample.
type Result struct {
	// Value is the output when Passed.
	Value  float64
	Passed bool
	// Live is the sample after all corrections, also when a thinning filter
	// held it back; valid when HasLive.
	Live    float64
	HasLive bool
}

// Chain is an ordered list of filters with their state. The zero Chain passes
// every finite value.
type Chain struct {
	links []link
}

// Len is the number of filters.
func (c *Chain) Len() int { return len(c.links) }

// Step puts one sample through the chain at time now.
func (c *Chain) Step(now time.Duration, v float64) Result { return c.run(now, v, finite(v)) }

// Tick lets time pass without a sample: heartbeats and averages may speak.
func (c *Chain) Tick(now time.Duration) Result { return c.run(now, 0, false) }

// Reset empties the windows after a fault, except where a filter says `keep`.
func (c *Chain) Reset() {
	for _, l := range c.links {
		l.step.reset()
	}
}

func (c *Chain) run(now time.Duration, v float64, ok bool) Result {
	live, hasLive := v, ok
	for _, l := range c.links {
		out, passed := l.step.apply(now, v, ok)
		passed = passed && finite(out)
		live, hasLive = l.follow(now, live, hasLive, ok, out, passed)
		v, ok = out, passed
	}
	r := Result{Passed: ok, HasLive: hasLive && finite(live)}
	if ok {
		r.Value = v
	}
	if r.HasLive {
		r.Live = live
	}
	return r
}

// follow carries the live view past one filter. While both views are the same
// sample it goes with the chain, but survives thinning; once they differ only
// functions of the value alone still apply to it, because the state of other
// filters belongs to the samples that passed. A value that a judging filter
// held back and now lets go is live; one that a thinning filter repeats is not.
func (l link) follow(now time.Duration, live float64, hasLive, ok bool, out float64, passed bool) (float64, bool) {
	switch {
	case !hasLive:
		return out, passed && !ok && l.role == judging
	case l.role == thinning:
		return live, true
	case l.role == mapping:
		return l.step.apply(now, live, true)
	case !ok:
		return 0, false
	}
	return out, passed
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
