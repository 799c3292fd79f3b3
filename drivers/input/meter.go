package input

import (
	"fmt"
	"time"

	"github.com/tidehold/tidehold/drivers"
)

// meter counts pulses: a total that never decreases and a rate by the time
// between pulses. Pure: times are arguments.
type meter struct {
	perUnit float64
	factor  float64 // from units per second to the unit of the rate
	idle    time.Duration
	pulses  uint64

	last     time.Time     // the last pulse, zero: none since the start
	interval time.Duration // the last full interval, 0: none
}

// pulse adds one.
func (m *meter) pulse(at time.Time) {
	m.pulses++
	if !m.last.IsZero() {
		m.interval = at.Sub(m.last)
	}
	m.last = at
}

func (m *meter) total() float64 { return float64(m.pulses) / m.perUnit }

// rate is that of the last full interval; when the next pulse is late it falls
// as one over the elapsed time, and is 0 after idle.
func (m *meter) rate(now time.Time) float64 {
	if m.last.IsZero() || m.interval <= 0 {
		return 0
	}
	elapsed := now.Sub(m.last)
	if elapsed >= m.idle {
		return 0
	}
	return m.factor / m.perUnit / max(m.interval, elapsed).Seconds()
}

// rateFactor gives the factor from `unit per second` to the rate's unit: by
// the units' own table when the rate is another quantity (kWh to W, L to
// L/min), else UNIT/s, UNIT/min, UNIT/h.
func rateFactor(unit, rate string) (float64, error) {
	for word, seconds := range map[string]float64{"s": 1, "min": 60, "h": 3600} {
		if rate == unit+"/"+word {
			return seconds, nil
		}
	}
	for _, pair := range []struct{ total, rate drivers.Quantity }{{drivers.Energy, drivers.Power}, {drivers.Volume, drivers.Flow}} {
		si, err := drivers.ToSI(pair.total, 1, drivers.Unit(unit))
		if err != nil {
			continue
		}
		f, err := drivers.Convert(pair.rate, si, drivers.Unit(rate))
		if err != nil {
			return 0, fmt.Errorf("counter rate: %w", err)
		}
		return f, nil
	}
	return 0, fmt.Errorf("counter rate %q does not fit unit %q: want %s/s, %s/min or %s/h", rate, unit, unit, unit, unit)
}
