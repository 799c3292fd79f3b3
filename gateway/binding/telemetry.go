package binding

import (
	"slices"
	"time"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/filter"
)

// tally sums up the samples of one reading since the last message.
type tally struct {
	n                    int
	last, mean, min, max float64
	decimals             int
}

func (t *tally) add(v float64) {
	if t.n == 0 {
		t.min, t.max, t.mean = v, v, 0
	}
	t.n++
	t.last = v
	t.min, t.max = min(t.min, v), max(t.max, v)
	t.mean += (v - t.mean) / float64(t.n)
}

// telemetry gathers what one part tells until its period is over. Pure.
type telemetry struct {
	every     time.Duration // 0: at each poll or change
	grace     time.Duration
	aggregate []string
	began     bool
	next      time.Duration
	tallies   map[string]*tally
	values    map[string]any // of inputs: the last state
	at        time.Time
}

func newTelemetry(p Part) *telemetry {
	t := &telemetry{every: p.Telemetry.Every, aggregate: p.Telemetry.Aggregate, grace: p.Poll + telemetryGrace, tallies: map[string]*tally{}}
	if p.Kind == Sensor && t.every <= p.Poll {
		t.every = 0
	}
	return t
}

func (t *telemetry) samples(samples []drivers.Sample) {
	for _, s := range samples {
		if !s.Live {
			continue
		}
		if t.tallies[s.Channel] == nil {
			t.tallies[s.Channel] = &tally{decimals: s.Decimals}
		}
		t.tallies[s.Channel].add(s.LiveValue)
		t.at = s.Time
	}
}

func (t *telemetry) state(values map[string]any, at time.Time) { t.values, t.at = values, at }

// silence drops plain values that were not told yet: a fault must not be
// followed by a value from before it. Aggregates say when they ended.
func (t *telemetry) silence() {
	if len(t.aggregate) == 0 {
		clear(t.tallies)
	}
}

func (t *telemetry) waiting() bool { return len(t.tallies) > 0 || t.values != nil }

// tolerance lets a sample that comes a little early end the period: polls and
// periods are never quite in step.
func (t *telemetry) tolerance() time.Duration { return t.every / 20 }

// ready gives the message when the period is over. late asks without a sample:
// then an input's state goes at its time, a sensor's tally only after the grace.
func (t *telemetry) ready(now time.Duration, late bool) ([]byte, bool) {
	if !t.waiting() {
		return nil, false
	}
	due := t.next - t.tolerance()
	if at, _ := t.deadline(); late {
		due = at
	}
	if t.every > 0 && t.began && now < due {
		return nil, false
	}
	if t.every > 0 {
		t.advance(now)
	}
	values := t.values
	if values == nil {
		values = t.summary()
	}
	t.values = nil
	clear(t.tallies)
	return flat(t.at, values), true
}

func (t *telemetry) advance(now time.Duration) {
	if !t.began {
		t.began, t.next = true, now
	}
	for t.next <= now+t.tolerance() {
		t.next += t.every
	}
}

// deadline is when ready has something to say without a further sample.
func (t *telemetry) deadline() (time.Duration, bool) {
	if t.values != nil {
		return t.next, true
	}
	return t.next + t.grace, t.waiting()
}

func (t *telemetry) summary() map[string]any {
	values := make(map[string]any, len(t.tallies))
	for name, c := range t.tallies {
		if len(t.aggregate) == 0 {
			values[name] = c.last
			continue
		}
		stats := map[string]any{"count": c.n}
		// A mean is finer than its samples: one digit more.
		mean := filter.Round(c.mean, c.decimals+1)
		for stat, v := range map[string]float64{"mean": mean, "min": c.min, "max": c.max} {
			if slices.Contains(t.aggregate, stat) {
				stats[stat] = v
			}
		}
		values[name] = stats
	}
	return values
}
