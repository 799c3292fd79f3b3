// Package sheet makes a driver of what a datasheet says.
//
// A Sheet lists the channels of a chip and, as functions on a Chip, how it is
// identified, set up, looked at for lost settings, sampled and put to rest. It
// adds what every driver owes and no datasheet tells: two retries when a
// checksum is wrong, a set-up anew after the chip lost its supply, and a look
// at each value: what the chip cannot measure is an error, never a value.
//
// A Chip belongs to one call and one goroutine. Its waits and transactions end
// with the caller's context. The package keeps nothing between reads.
package sheet

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/tidehold/tidehold/drivers"
)

// crcRetries are the further tries after a wrong checksum (drivers.md 4.3).
const crcRetries = 2

// restTime bounds what Close may take.
const restTime = 200 * time.Millisecond

// Span is what a channel can measure, in its SI unit. A value outside is a lie
// of the wire or of the chip.
type Span struct{ Min, Max float64 }

// Sheet is a drivers.Driver. All functions but Sample may be nil: the chip has
// no identity, no settings, nothing to lose, nothing to end.
type Sheet struct {
	Info drivers.Info
	// Spans holds one entry per channel of Info, in its order.
	Spans []Span
	// Identify tells the chip from others; a wrong checksum counts as another.
	Identify func(c *Chip) error
	// Unsure marks an Identify that another chip could pass, or that could move
	// the pins of an expander at the same address: whoever scans leaves it out.
	Unsure bool
	// SetUp writes the settings.
	SetUp func(c *Chip) error
	// Lost reports that the chip forgot its settings since SetUp.
	Lost func(c *Chip) (bool, error)
	// Sample gives one value per channel, in the order of Info and in SI units.
	// Off stands for a channel that is switched off.
	Sample func(c *Chip) ([]float64, error)
	// Rest ends measuring.
	Rest func(c *Chip) error
}

var _ drivers.Recognizer = Sheet{}

// Off is the value of a channel that the options switched off.
const Off = -math.MaxFloat64

// Describe tells channels, addresses and options.
func (s Sheet) Describe() drivers.Info { return s.Info }

// Open identifies the chip and writes its settings.
func (s Sheet) Open(ctx context.Context, h *drivers.Handle, opt drivers.Options) (drivers.Device, error) {
	d := &device{Sheet: s, chip: &Chip{handle: h, Options: opt}}
	if err := d.Identify(ctx); err != nil {
		return nil, err
	}
	if err := d.do(ctx, "set up", s.SetUp); err != nil {
		return nil, err
	}
	return d, nil
}

// Recognize asks the chip who it is and writes no settings.
func (s Sheet) Recognize(ctx context.Context, h *drivers.Handle) error {
	return (&device{Sheet: s, chip: &Chip{handle: h}}).Identify(ctx)
}

// Distinct reports that the chip has an identity that nobody else has.
func (s Sheet) Distinct() bool { return s.Identify != nil && !s.Unsure }

// device is a chip that was opened.
type device struct {
	Sheet
	chip *Chip
}

// Identify asks the chip who it is.
func (d *device) Identify(ctx context.Context) error {
	err := d.do(ctx, "identify", d.Sheet.Identify)
	if errors.Is(err, drivers.ErrCRC) {
		return fmt.Errorf("%w (%w)", err, drivers.ErrWrongChip)
	}
	return err
}

// do runs f under ctx, again when a checksum was wrong.
func (d *device) do(ctx context.Context, what string, f func(*Chip) error) error {
	if f == nil {
		return nil
	}
	var err error
	for range 1 + crcRetries {
		err = d.chip.handle.Do(ctx, func() error {
			return f(d.chip)
		})
		if !errors.Is(err, drivers.ErrCRC) || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("%s %s %s: %w", d.Info.Name, what, d.chip.handle, err)
	}
	return nil
}

// Read takes one sample.
func (d *device) Read(ctx context.Context) ([]drivers.Reading, error) {
	var values []float64
	err := d.do(ctx, "read", func(c *Chip) (err error) {
		if err = d.restore(c); err != nil {
			return err
		}
		values, err = d.Sample(c)
		return err
	})
	if err != nil {
		return nil, err
	}
	return d.readings(values)
}

// restore sets the chip up again when it forgot its settings.
func (d *device) restore(c *Chip) error {
	if d.Lost == nil {
		return nil
	}
	lost, err := d.Lost(c)
	if err != nil || !lost {
		return err
	}
	for _, f := range []func(*Chip) error{d.Sheet.Identify, d.SetUp} {
		if f == nil {
			continue
		}
		if err := f(c); err != nil {
			return err
		}
	}
	return nil
}

// readings checks the values: what the chip cannot measure is an error.
func (d *device) readings(values []float64) ([]drivers.Reading, error) {
	var out []drivers.Reading
	for i, ch := range d.Info.Channels {
		v := values[i]
		if v == Off {
			continue
		}
		if span := d.Spans[i]; !(v >= span.Min && v <= span.Max) {
			return nil, fmt.Errorf("%s read %s: %s %v is outside %v to %v: %w", d.Info.Name, d.chip.handle, ch.Name, v, span.Min, span.Max, drivers.ErrOutOfRange)
		}
		out = append(out, drivers.Reading{Channel: ch.Name, Quantity: ch.Quantity, Value: v})
	}
	return out, nil
}

// Close puts the chip to rest.
func (d *device) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), restTime)
	defer cancel()
	return d.do(ctx, "rest", d.Rest)
}
