package drivers

import (
	"context"
	"time"
)

// Pull is the resistor at an input line.
type Pull string

// The resistors.
const (
	PullNone Pull = ""
	PullUp   Pull = "up"
	PullDown Pull = "down"
)

// Edges are the changes of an input line that are told.
type Edges int

// The edges of a request. Of both, the kernel reads the level again to tell
// which one it was, so a pulse shorter than its own delay looks like two of
// the same kind; of one kind none is mistaken.
const (
	BothEdges Edges = iota
	RisingEdges
	FallingEdges
)

// Level says which level an output line gets when it is requested.
type Level int

// The levels of a request.
const (
	Keep Level = iota // whatever it has now
	Low
	High
)

// LineEdge is one change of a line. Time has a monotonic reading taken when
// the edge happened, so that a late reader loses nothing. Seq counts the edges
// of the line from 1; a gap means edges were lost.
type LineEdge struct {
	High bool
	Time time.Time
	Seq  uint64
}

// InputLine is a line requested as input. Levels are electrical: what is
// active is the user's business.
type InputLine interface {
	// Read is the level now.
	Read() (high bool, err error)
	// Wait blocks until the next edge, or ctx ends (its error). Edges wait in a
	// bounded queue; when it is full the oldest are lost and Seq shows the gap.
	Wait(ctx context.Context) (LineEdge, error)
	// Close gives the line back.
	Close() error
}

// Debouncer is an InputLine whose kernel can hold edges back until the level
// was stable. An error means it cannot: then its reader must.
type Debouncer interface {
	// Debounce sets the time from now on; edges then come that much later.
	Debounce(stable time.Duration) error
}

// OutputLine is a line requested as output. Reading never changes its
// direction.
type OutputLine interface {
	Write(high bool) error
	// Read is the level at the pin, not what was written.
	Read() (high bool, err error)
	// Close gives the line back. Most chips keep the level.
	Close() error
}

// LevelLine is a line with levels between off (0) and always on (100), a PWM
// channel. Levels are electrical.
type LevelLine interface {
	// Set gives the line a level.
	Set(level float64) error
	// Level reads it back.
	Level() (float64, error)
	// Close gives the line back; it keeps its level.
	Close() error
}

// Levels is a Lines that has PWM channels too.
type Levels interface {
	// PWM takes a channel. initial is its first level; nil keeps what runs.
	PWM(c PWMConfig, initial *float64) (LevelLine, error)
}

// Lines hands out lines of GPIO chips.
type Lines interface {
	// Simulated reports that there is no hardware behind the chip.
	Simulated(pin PinConfig) bool
	// Input requests a line as input that tells edges.
	Input(pin PinConfig, pull Pull, edges Edges) (InputLine, error)
	// Output requests a line as output; it has its initial level from the first
	// moment, without a glitch.
	Output(pin PinConfig, initial Level) (OutputLine, error)
}

// Buses finds buses by the names in the configuration. An unknown name is
// ErrNoBus; a known bus whose hardware is absent is found, and its
// transactions fail.
type Buses interface {
	Lines
	Bus(name string) (Bus, error)
}
