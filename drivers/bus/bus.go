// Package bus opens the buses and lines of a configuration: I2C buses and GPIO
// lines of the host, and those of a simulated world.
//
// Open touches nothing. A bus is opened by its first transaction, found by
// number, sysfs path or adapter name, closed at once when its adapter is gone
// (the kernel does not enumerate a re-plugged one before), and looked for again
// at most once per reopenWait. So absent hardware is an error of each
// transaction, which says what to do, and never the end of the program.
//
// Every bus, simulated or not, is shared by drivers/bus/shared: turns, leases,
// what a dead chip may cost, and the freeing of a stuck bus are the same for
// both. `NAME/0x70/3` is the bus behind port 3 of a PCA9548 at 0x70 of bus NAME,
// `NAME/0x20/mcp23017` the lines of an expander there (drivers/expander).
//
// Buses go through drivers/bus/i2cdev and lines through drivers/bus/gpiochip:
// periph's backends lose the kernel's errors, have no time-out, and its GPIO
// lines are not safe for outputs (hardware-facts section 4). SPI goes
// through drivers/bus/spidev. 1-Wire has no bus here: its chips are read by drivers of the kernel.
package bus

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/bus/gpiochip"
	"github.com/tidehold/tidehold/drivers/bus/pwm"
	"github.com/tidehold/tidehold/drivers/bus/shared"
	"github.com/tidehold/tidehold/drivers/expander"
)

// Options are what Open needs beside the configured buses.
type Options struct {
	// World holds the simulated buses and lines; nil when there are none.
	World drivers.Buses
	// Figures are the metrics of buses; nil: nobody looks.
	Figures *shared.Figures
	Log     *slog.Logger

	sys, dev string // /sys and /dev, other folders in tests
}

// Host is the hardware of this machine and of its simulated world, as far as
// it is configured. Safe for several goroutines.
type Host struct {
	o     Options
	buses map[string]*shared.Bus
	chips *expander.Set
	real  []*i2cBus
	spi   []*spiBus
	other []unserved
}

var (
	_ drivers.Buses  = (*Host)(nil)
	_ drivers.Levels = (*Host)(nil)
)

// Open knows the configured buses from now on. It touches no hardware; its
// error is a fault of the configuration.
func Open(buses []drivers.BusConfig, o Options) (*Host, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.sys == "" {
		o.sys, o.dev = "/sys", "/dev"
	}
	h := &Host{o: o, buses: map[string]*shared.Bus{}}
	h.chips = expander.On(h.Bus)
	for _, c := range buses {
		if h.buses[c.Name] != nil {
			return nil, fmt.Errorf("bus %s: configured twice", c.Name)
		}
		a, err := h.adapter(c)
		if err != nil {
			return nil, fmt.Errorf("bus %s: %w", c.Name, err)
		}
		h.buses[c.Name] = shared.New(a, shared.Options{Name: c.Name, Simulated: c.Type == "sim", Figures: o.Figures, Log: o.Log})
	}
	return h, nil
}

// adapter gives the way to the wires of one configured bus.
func (h *Host) adapter(c drivers.BusConfig) (shared.Adapter, error) {
	switch c.Type {
	case "i2c":
		b, err := newI2C(c, h.o.sys, h.o.dev, h.o.Log)
		if err == nil {
			h.real = append(h.real, b)
		}
		return b, err
	case "spi":
		b, err := newSPI(c, h.o.dev, h.o.Log)
		if err == nil {
			h.spi = append(h.spi, b)
		}
		return b, err
	case "onewire":
		u := unserved{c}
		h.other = append(h.other, u)
		return u, nil
	case "sim":
		return h.simulated(c.Name)
	}
	return nil, fmt.Errorf("type %q is not i2c, spi, onewire or sim", c.Type)
}

func (h *Host) simulated(name string) (shared.Adapter, error) {
	if h.o.World == nil {
		return nil, drivers.ErrNoBus
	}
	b, err := h.o.World.Bus(name)
	if err != nil {
		return nil, err
	}
	a, ok := b.(shared.Adapter)
	if !ok {
		return nil, errors.New("the simulated bus cannot be freed")
	}
	return a, nil
}

// Bus finds a configured bus, or the port of a multiplexer on one; whether its
// hardware is there shows when it is used.
func (h *Host) Bus(name string) (drivers.Bus, error) {
	b, err := h.find(name)
	if err != nil {
		return nil, err
	}
	return b, nil
}

func (h *Host) find(name string) (*shared.Bus, error) {
	if b := h.buses[name]; b != nil {
		return b, nil
	}
	parent, addr, port, ok := drivers.SplitPort(name)
	if !ok {
		return nil, fmt.Errorf("bus %q: %w", name, drivers.ErrNoBus)
	}
	b, err := h.find(parent)
	if err != nil {
		return nil, err
	}
	return b.Port(addr, port)
}

// Simulated reports that a pin lies in the simulated world.
func (h *Host) Simulated(pin drivers.PinConfig) bool {
	return h.o.World != nil && h.o.World.Simulated(pin) || h.chips.Simulated(pin.Chip)
}

// Input requests a line as input.
func (h *Host) Input(pin drivers.PinConfig, pull drivers.Pull, edges drivers.Edges) (drivers.InputLine, error) {
	if expander.Named(pin.Chip) {
		return h.chips.Input(pin, pull, edges)
	}
	if h.Simulated(pin) {
		return h.o.World.Input(pin, pull, edges)
	}
	l, err := gpiochip.Input(h.o.dev, pin, pull, edges)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// Output requests a line as output, with its level in the request.
func (h *Host) Output(pin drivers.PinConfig, initial drivers.Level) (drivers.OutputLine, error) {
	if expander.Named(pin.Chip) {
		return h.chips.Output(pin, initial)
	}
	if h.Simulated(pin) {
		return h.o.World.Output(pin, initial)
	}
	l, err := gpiochip.Output(h.o.dev, pin, initial)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// PWM takes a channel of a PWM chip.
func (h *Host) PWM(c drivers.PWMConfig, initial *float64) (drivers.LevelLine, error) {
	if expander.Named(c.Chip) {
		return h.chips.PWM(c, initial)
	}
	if h.Simulated(drivers.PinConfig{Chip: c.Chip}) {
		levels, ok := h.o.World.(drivers.Levels)
		if !ok {
			return nil, fmt.Errorf("pwm: simulated chip %s has no PWM: %w", c.Chip, drivers.ErrUnplugged)
		}
		return levels.PWM(c, initial)
	}
	l, err := pwm.Open(filepath.Join(h.o.sys, "class/pwm"), c, initial)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// Finding is a line of the report of what is there.
type Finding struct {
	// Kind is bus or gpiochip, Name the configured name or the chip's label.
	Kind string `json:"kind"`
	Name string `json:"name"`
	// Detail says what was found; Error why nothing was.
	Detail string `json:"detail,omitempty"`
	Error  string `json:"error,omitempty"`
}

// Report looks for every configured bus of the host and lists its GPIO chips.
// It opens device nodes for a moment and talks to no chip.
func (h *Host) Report() []Finding {
	var out []Finding
	for _, b := range h.real {
		f := Finding{Kind: "bus", Name: b.cfg.Name}
		a, err := b.locate()
		if err == nil {
			err = b.permitted(a)
		}
		f.Detail = a.String()
		if err != nil {
			f.Detail, f.Error = "", err.Error()
		}
		out = append(out, f)
	}
	for _, b := range h.spi {
		out = append(out, b.report())
	}
	for _, u := range h.other {
		out = append(out, Finding{Kind: "bus", Name: u.cfg.Name, Error: u.refusal().Error()})
	}
	chips, err := gpiochip.Chips(h.o.dev)
	for _, c := range chips {
		out = append(out, Finding{Kind: "gpiochip", Name: c.Label, Detail: fmt.Sprintf("%s, %d lines", c.Path, c.Lines)})
	}
	if err != nil {
		out = append(out, Finding{Kind: "gpiochip", Error: err.Error()})
	}
	return out
}

// causeOf gives an error of the kernel its cause.
func causeOf(err error) error {
	for _, k := range kernelErrors {
		if errors.Is(err, k.errno) {
			return fmt.Errorf("%w (%s)", k.cause, k.errno.Error())
		}
	}
	return err
}
