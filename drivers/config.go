package drivers

import (
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
)

// BusConfig is an entry of `buses`.
type BusConfig struct {
	Name string
	// Type is i2c, spi, onewire or sim.
	Type  string
	Match Match
	// Speed is in Hz, 0 when not written; it is checked, not set.
	Speed int64
	// Timeout bounds one transaction in the kernel; default 200 ms.
	Timeout time.Duration
	Recover *Recover
	// Seed feeds the noise of a simulated bus.
	Seed uint64
}

// Match finds the adapter of a real bus. Exactly one member is set.
type Match struct {
	Number  *int
	Path    string // below /sys, stable over re-plug
	Adapter string // the adapter's name, with `*`
}

// Recover names the lines for nine-pulse recovery of a stuck bus.
type Recover struct{ SCL, SDA string }

// Target says where the values of a part stand: a shadow field and a topic.
type Target struct {
	Thing iot.ThingName
	// Key is the member of reported and desired; "." is the section itself.
	Key         string
	Shadow      iot.ShadowName
	ShadowEvery time.Duration
	Telemetry   *TelemetryConfig
}

// TelemetryConfig is `telemetry` of a part.
type TelemetryConfig struct {
	Topic string
	// Every is the period; 0 is each poll, for inputs each change.
	Every time.Duration
	// Aggregate holds mean, min, max, count; empty is the plain value.
	Aggregate []string
}

// SensorConfig is an entry of `sensors`.
type SensorConfig struct {
	Name, Driver, Bus string
	// Address: the first that identifies; empty means the driver's own list.
	Address  []uint16
	Poll     time.Duration // default 10 s
	Options  map[string]any
	Readings map[string]ReadingConfig // empty: every channel of the driver
	// Simulate gives signals by channel; only read on a sim bus.
	Simulate map[string]any
	Target
}

// ReadingConfig is an entry of `readings`, by channel of the driver.
type ReadingConfig struct {
	As string // name in shadow and telemetry, default the channel's
	// Unit is the unit of the value, of the filters and of Range.
	Unit     *Unit
	Decimals *int
	// Filters is the list as written: each entry a map with one member.
	Filters []any
	Range   *Range
	MaxStep float64 // most change per second, 0 = any
}

// Range bounds a value; nil is no bound.
type Range struct{ Min, Max *float64 }

// Contains reports whether v lies within the bounds.
func (r *Range) Contains(v float64) bool {
	return r == nil || (r.Min == nil || v >= *r.Min) && (r.Max == nil || v <= *r.Max)
}

// PinConfig names a GPIO line: by its name or its offset, on a chip or, when
// Chip is empty, on any.
type PinConfig struct{ Chip, Line string }

// String is CHIP/LINE or LINE.
func (p PinConfig) String() string {
	if p.Chip == "" {
		return p.Line
	}
	return p.Chip + "/" + p.Line
}

// InputConfig is an entry of `inputs`.
type InputConfig struct {
	Name    string
	Pin     *PinConfig
	Encoder *EncoderConfig
	Pull    Pull
	// Active is the level that means on: high (default) or low.
	Active string
	// Edge says which electrical edges count: rising, falling, both; default
	// the one that turns the input on.
	Edge     string
	Debounce time.Duration
	Counter  *CounterConfig
	// Simulate holds `toggle: PERIOD`; only read on a sim chip.
	Simulate map[string]any
	Target
}

// CounterConfig is `counter` of an input: pulses of a meter.
type CounterConfig struct {
	PerUnit float64 // pulses per Unit
	Unit    string
	Rate    string        // unit of the rate, empty: none
	Idle    time.Duration // rate 0 after this silence, default 10 s
	Persist time.Duration // save the total this often, default 60 s
	// MinPulse refuses shorter pulses.
	MinPulse time.Duration
}

// EncoderConfig is `encoder` of an input: a rotary knob.
type EncoderConfig struct {
	A, B           PinConfig
	StepsPerDetent int // default 4
	Min, Max       *int
}

// OutputConfig is an entry of `outputs`.
type OutputConfig struct {
	Name   string
	Pin    *PinConfig
	PWM    *PWMConfig
	Active string // high (default) or low
	// OnStart is off (default), on, restore or keep; OnStop and OnFault are off
	// (default), on or keep. Of a PWM each may be a level from 0 to 100.
	OnStart, OnStop, OnFault string
	// Range bounds the levels of a PWM that may be wished for; 0 always may.
	// Slew is the most change of its level per second, 0: none.
	Range                *Range
	Slew                 float64
	OnLoss               *LossConfig
	MinOn, MinOff, MaxOn time.Duration
	// MinOnHard keeps MinOn even when a fault or a stop wants the output off.
	MinOnHard bool
	// ApplyOld lets wishes from before the start count.
	ApplyOld  bool
	Interlock *InterlockConfig
	// Require lists guards, `PART.CHANNEL > NUMBER` or `INPUT`; all must hold.
	Require []string
	Confirm *ConfirmConfig
	Target
}

// Chip is the chip of the output's line; empty is any.
func (c OutputConfig) Chip() string {
	switch {
	case c.PWM != nil:
		return c.PWM.Chip
	case c.Pin != nil:
		return c.Pin.Chip
	}
	return ""
}

// PWMConfig is `pwm` of an output.
type PWMConfig struct {
	Chip      string
	Channel   int
	Frequency int64 // Hz
}

// LossConfig is `on_loss`: State after After without an accepted wish.
type LossConfig struct {
	After time.Duration
	State string // off or on
}

// InterlockConfig is `interlock`: at most one output of Group is on, and the
// next one only Wait after the last went off.
type InterlockConfig struct {
	Group string
	Wait  time.Duration
}

// ConfirmConfig is `confirm`: the input that must follow Within.
type ConfirmConfig struct {
	Input  string
	Within time.Duration
}
