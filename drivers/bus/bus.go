// Package bus opens real hardware: I2C buses and GPIO lines of the host.
//
// Open touches nothing. A bus is opened by its first transaction, found by
// number, sysfs path or adapter name, closed at once when its adapter is gone
// (the kernel does not enumerate a re-plugged one before), and looked for again
// at most once per reopenWait. So absent hardware is an error of each
// transaction, which says what to do, and never the end of the program.
//
// Transactions of one bus come one after the other. One that has begun ends
// within the bus's `timeout`, which is the kernel's; a context ends the waiting
// before it.
//
// Buses go through drivers/bus/i2cdev and lines through drivers/bus/gpiochip:
// periph's backends lose the kernel's errors, have no time-out, and its GPIO
// lines are not safe for outputs (hardware-facts section 4). SPI and 1-Wire
// buses have no backend yet and say so.
package bus

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/bus/gpiochip"
)

// Host is the hardware of this machine, as far as it is configured. Safe for
// several goroutines.
type Host struct {
	dev   string // /dev, another folder in tests
	buses map[string]drivers.Bus
	order []string
	log   *slog.Logger
}

var _ drivers.Buses = (*Host)(nil)

// Open knows the configured buses from now on. It touches no hardware; its
// error is a fault of the configuration.
func Open(buses []drivers.BusConfig, log *slog.Logger) (*Host, error) {
	return open(buses, "/sys", "/dev", log)
}

func open(buses []drivers.BusConfig, sys, dev string, log *slog.Logger) (*Host, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	h := &Host{dev: dev, buses: map[string]drivers.Bus{}, log: log}
	for _, c := range buses {
		if h.buses[c.Name] != nil {
			return nil, fmt.Errorf("bus %s: configured twice", c.Name)
		}
		switch c.Type {
		case "i2c":
			b, err := newI2C(c, sys, dev, log)
			if err != nil {
				return nil, fmt.Errorf("bus %s: %w", c.Name, err)
			}
			h.buses[c.Name] = b
		case "spi", "onewire":
			h.buses[c.Name] = unserved{c}
		default:
			return nil, fmt.Errorf("bus %s: type %q is not i2c, spi or onewire", c.Name, c.Type)
		}
		h.order = append(h.order, c.Name)
	}
	return h, nil
}

// Bus finds a configured bus; whether its hardware is there shows when it is
// used.
func (h *Host) Bus(name string) (drivers.Bus, error) {
	if b := h.buses[name]; b != nil {
		return b, nil
	}
	return nil, fmt.Errorf("bus %q: %w", name, drivers.ErrNoBus)
}

// Simulated is false: this is the host.
func (h *Host) Simulated(drivers.PinConfig) bool { return false }

// Input requests a line as input.
func (h *Host) Input(pin drivers.PinConfig, pull drivers.Pull, edges drivers.Edges) (drivers.InputLine, error) {
	l, err := gpiochip.Input(h.dev, pin, pull, edges)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// Output requests a line as output, with its level in the request.
func (h *Host) Output(pin drivers.PinConfig, initial drivers.Level) (drivers.OutputLine, error) {
	l, err := gpiochip.Output(h.dev, pin, initial)
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

// Report looks for every configured bus and lists the host's GPIO chips. It
// opens device nodes for a moment and talks to no chip.
func (h *Host) Report() []Finding {
	var out []Finding
	for _, name := range h.order {
		f := Finding{Kind: "bus", Name: name}
		switch b := h.buses[name].(type) {
		case *i2cBus:
			a, err := b.locate()
			if err == nil {
				err = b.permitted(a)
			}
			f.Detail = a.String()
			if err != nil {
				f.Detail, f.Error = "", err.Error()
			}
		case unserved:
			f.Error = b.refusal().Error()
		}
		out = append(out, f)
	}
	chips, err := gpiochip.Chips(h.dev)
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
