package telemetry

import "time"

// The limits of an adaptive window (broker-storage.md 3.5).
const (
	windowStart = 100
	windowMin   = 10
	windowMax   = 20_000
	inflation   = 2 // of the round trip, at which the window is halved
)

// window says how many messages may be on their way. With size 0 it adapts: it
// doubles while round trips stay short and is halved when they grow.
type window struct {
	fixed int
	now   int
	acks  int // since the last change
	best  time.Duration
	worst time.Duration // since the last change
}

func newWindow(size int) window { return window{fixed: size, now: windowStart} }

func (w *window) size() int {
	if w.fixed > 0 {
		return w.fixed
	}
	return w.now
}

// acked takes in one acknowledgement and its round trip.
func (w *window) acked(rtt time.Duration) {
	if w.best == 0 || rtt < w.best {
		w.best = rtt
	}
	w.worst = max(w.worst, rtt)
	w.acks++
	if w.acks < w.now {
		return
	}
	if w.worst > inflation*w.best+10*time.Millisecond {
		w.now = max(windowMin, w.now/2)
	} else {
		w.now = min(windowMax, w.now*2)
	}
	w.acks, w.worst = 0, 0
}

// bucket is a token bucket that may go into debt: what is taken is paid before
// the next may start. It gives 95 % of the rate and saves 5 % of a second, so
// that no second ever sees more than the rate. Rate 0 is no limit.
type bucket struct {
	rate   float64 // per second
	level  float64
	filled time.Time
}

func newBucket(rate float64, now time.Time) bucket {
	b := bucket{rate: rate, filled: now}
	b.level = b.burst()
	return b
}

func (b *bucket) burst() float64 { return max(1, b.rate*0.05) }

// wait is how long the next one must wait.
func (b *bucket) wait(now time.Time) time.Duration {
	if b.rate <= 0 {
		return 0
	}
	per := b.rate * 0.95
	if b.rate <= 1 {
		per = b.rate
	}
	b.level = min(b.burst(), b.level+now.Sub(b.filled).Seconds()*per)
	b.filled = now
	if b.level >= min(1, b.burst()) {
		return 0
	}
	return time.Duration((min(1, b.burst()) - b.level) / per * float64(time.Second))
}

func (b *bucket) take(n float64) { b.level -= n }

// The bounds of trouble (telemetry.md 9.3 and 9.4).
const (
	dropsMax    = 3                // connections lost soon after sending: then one at a time
	dropWithin  = 10 * time.Second // what is soon
	suspectsMax = 2                // connections lost by one message alone: it is poison
	calm        = time.Minute      // without a loss, after which earlier ones are forgotten
	notSent     = 20 * time.Millisecond
)

// trouble remembers connections that were lost while messages were on their
// way.
type trouble struct {
	drops     int
	dropped   time.Time // the last time
	probation int       // acknowledgements until the window opens again
	upTo      uint64    // of messages up to this number, which were open then
	suspect   uint64
	strikes   int
	stalled   bool // no acknowledgement for long: one at a time
}

// narrow reports whether only one message may be on its way.
func (t *trouble) narrow() bool { return t.stalled || t.probation > 0 }

// acked takes in the acknowledgement of a message. Only its own clears a
// suspect, and only those of messages that were open at the loss end probation:
// others prove nothing about them.
func (t *trouble) acked(seq uint64) {
	t.stalled = false
	if seq == t.suspect {
		t.strikes = 0
	}
	if t.probation == 0 || seq > t.upTo {
		return
	}
	if t.probation--; t.probation == 0 {
		t.drops = 0
	}
}

// lost takes in the end of a connection with open messages up to the number
// upTo; seq is the one that told of it. True means that this one is poison.
func (t *trouble) lost(open int, seq, upTo uint64, now time.Time) (poison bool) {
	if now.Sub(t.dropped) > calm {
		t.drops = 0
	}
	t.dropped = now
	if t.probation > 0 && open == 1 {
		if t.suspect != seq {
			t.suspect, t.strikes = seq, 0
		}
		t.strikes++
		if t.strikes >= suspectsMax {
			*t = trouble{}
			return true
		}
		return false
	}
	if t.drops++; t.drops >= dropsMax {
		t.probation, t.upTo = max(1, open), upTo
	}
	return false
}

// speed is the rate of acknowledgements, averaged over about ten seconds.
type speed struct {
	perSecond float64
	count     int
	since     time.Time
}

// acked counts one.
func (s *speed) acked(now time.Time) {
	if s.since.IsZero() {
		s.since = now
	}
	s.count++
	if d := now.Sub(s.since); d >= time.Second {
		weight := min(1, d.Seconds()/10)
		if s.perSecond == 0 {
			weight = 1
		}
		s.perSecond += weight * (float64(s.count)/d.Seconds() - s.perSecond)
		s.count, s.since = 0, now
	}
}
