package drivers

import (
	"context"
	"time"
)

// Driver knows one kind of chip. A Driver is stateless and may be used by
// several goroutines.
type Driver interface {
	// Describe tells what the driver needs and gives. It touches no hardware.
	Describe() Info
	// Open makes the chip at h ready to be read: it identifies it (ErrWrongChip)
	// and writes its settings. opt has passed Describe().Options.
	Open(ctx context.Context, h *Handle, opt Options) (Device, error)
}

// Recognizer is a Driver that can look whether its chip is there without writing
// a setting: what somebody scans may be another chip, and in use.
type Recognizer interface {
	Driver
	// Recognize reads the identity at h; an error when it is not this chip's, or
	// cannot be read.
	Recognize(ctx context.Context, h *Handle) error
	// Distinct reports that the chip has an identity at all.
	Distinct() bool
}

// Shaped is a Driver whose channels follow from the options of a part: what its
// own Describe tells is the form that all its parts share.
type Shaped interface {
	Driver
	// Shape gives the driver of one part. Problems have paths from the part's
	// entry; with any there is no driver.
	Shape(options map[string]any) (Driver, []Problem)
}

// DriverFor gives the driver of one sensor: d, or what d makes of its options.
// With problems it is d.
func DriverFor(c SensorConfig, d Driver) (Driver, []Problem) {
	shaped, ok := d.(Shaped)
	if !ok {
		return d, nil
	}
	own, problems := shaped.Shape(c.Options)
	if len(problems) > 0 {
		return d, problems
	}
	return own, nil
}

// Device is one chip that a Driver opened. Its methods are called by one
// goroutine at a time.
type Device interface {
	// Identify reads the chip's identity; ErrWrongChip when it is another one.
	Identify(ctx context.Context) error
	// Read takes one sample of every channel, in SI units. It ends within
	// Describe().MaxRead, and soon after ctx does.
	Read(ctx context.Context) ([]Reading, error)
	// Close puts the chip to rest. It does not close the bus.
	Close() error
}

// Reading is one sample of one channel. A Device fills Channel, Quantity and
// Value; whoever schedules the reads stamps the rest.
type Reading struct {
	// Channel is the driver's name of the value; after naming by the
	// configuration, its `as`.
	Channel  string
	Quantity Quantity
	Value    float64
	// Unit is the unit of Value: empty from a Device (SI).
	Unit Unit
	// Time is the wall clock at the sample, Up the time since boot.
	Time time.Time
	Up   time.Duration
	// Unsynced marks a Time that was taken before the wall clock was set.
	Unsynced bool
}

// StateClass says how a reading behaves over time (Home Assistant's words).
type StateClass string

// The state classes.
const (
	Measurement     StateClass = "measurement"
	Total           StateClass = "total"
	TotalIncreasing StateClass = "total_increasing"
)

// Channel describes one value of a chip.
type Channel struct {
	Name     string
	Quantity Quantity
	// Unit and Decimals are what a reading gets when the configuration names none.
	Unit     Unit
	Decimals int
	Class    StateClass
}

// Info is what a driver says about itself.
type Info struct {
	// Name is the word in `driver:`.
	Name string
	// Bus is the type of bus the chip sits on: i2c, spi, onewire. Empty: it sits
	// on none, and Open gets no Handle; the kernel reads such a part.
	Bus string
	// Addresses are the addresses the chip can have, the usual one first. On an
	// SPI bus they are chip selects.
	Addresses []uint16
	// SPIMode is the clock of an SPI chip.
	SPIMode SPIMode
	// Identify tells people how the chip is recognised.
	Identify string
	Channels []Channel
	Options  []Option
	// MaxRead bounds one Read or Open.
	MaxRead time.Duration
}

// Channel finds a channel by name.
func (i Info) Channel(name string) (Channel, bool) {
	for _, c := range i.Channels {
		if c.Name == name {
			return c, true
		}
	}
	return Channel{}, false
}

// Memory keeps small states of parts over a restart: totals of counters, the
// last level of outputs. A nil Memory keeps nothing.
type Memory interface {
	// Load gives what was saved last for a part; false when nothing was.
	Load(part string) ([]byte, bool, error)
	// Save replaces it and returns once it is durable.
	Save(part string, state []byte) error
}
