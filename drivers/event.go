package drivers

import "time"

// Sample is what one poll made of one reading, named and in its unit.
type Sample struct {
	Reading
	Decimals int
	Class    StateClass
	// Passed is set when the filters let the value through: it belongs into
	// the shadow. Live is set when LiveValue is a corrected sample of now: it
	// belongs into telemetry, whatever the filters held back.
	Passed, Live bool
	LiveValue    float64
}

// InputEvent is the state of an input after a change.
type InputEvent struct {
	// On is the believed state; Count the number of edges that counted.
	On    bool
	Count uint64
	// Held is how long the state before lasted; 0 at the first event.
	Held time.Duration
	// Meter is set for counters, Position for encoders.
	Meter    *Meter
	Position *int
	// At is when the line changed. First marks the state found at the start,
	// which is no change. Approximate: edges were lost.
	At          time.Time
	First       bool
	Approximate bool
}

// Meter is the state of a pulse counter in its unit.
type Meter struct {
	Total   float64
	Unit    string
	Rate    float64
	HasRate bool
}

// OutputReport is the state of an output as it was read back.
type OutputReport struct {
	// Known is false while the line is not ours or cannot be read: On means
	// nothing then.
	Known, On bool
	// Level is that of a PWM, from 0 to 100; nil for a line that is on or off.
	Level *float64
	// Since is when On began; Cause why: start, desired, command, the source of
	// another wish, max_on, on_loss, fault, require, interlock, stop.
	Since time.Time
	Cause string
	// Refused is set while the last wish is not reality.
	Refused *Refused
}

// Refused says why a wish is not reality.
type Refused struct {
	// Why is min_on, min_off, max_on, interlock, require, fault, on_loss,
	// missing, old, expired or invalid.
	Why string
	// Until is when the reason ends by itself; zero when it does not.
	Until time.Time
}

// Wish is somebody's wish for an output.
type Wish struct {
	Part string
	On   bool
	// Level is wished for of a PWM, from 0 to 100; nil: on or off alone, on being
	// the level it had last.
	Level *float64
	Cause string // who: desired, command, rule/NAME
	// Old marks a wish from before the start of the daemon.
	Old bool
	// Invalid marks a wish of a wrong type: it is refused, the wish before it
	// stands.
	Invalid bool
	// Expires is when the wish must not be executed any more if it was not by
	// then (FL-011); zero for never.
	Expires time.Time
}
