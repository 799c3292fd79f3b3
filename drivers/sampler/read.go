package sampler

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidehold/tidehold/drivers"
)

// outcome is the result of one poll.
type outcome struct {
	device   drivers.Device // as it stands after the poll
	readings []drivers.Reading
	err      error
}

// poll opens the device when needed, reads it, and never panics. On failure
// the device is closed, so that the next poll identifies it again.
func (p *part) poll(ctx context.Context, device drivers.Device) (o outcome) {
	o.device = device
	defer func() {
		if r := recover(); r != nil {
			o = outcome{err: fmt.Errorf("%w: %v", drivers.ErrPanic, r)}
		}
	}()
	if o.device == nil {
		if o.device, o.err = p.open(ctx); o.err != nil {
			return o
		}
	}
	if o.readings, o.err = readChecked(ctx, o.device); o.err != nil {
		if !silent(o.err) {
			_ = o.device.Close() // the read's error is the one to tell
		}
		return outcome{err: o.err}
	}
	if len(o.readings) == 0 {
		o.err = fmt.Errorf("driver gave no reading: %w", drivers.ErrStale)
	}
	return o
}

// crcRetries are the further tries of a read whose checksum was wrong
// (drivers.md 4.3).
const crcRetries = 2

// readChecked reads, and reads again after a wrong checksum.
func readChecked(ctx context.Context, d drivers.Device) (readings []drivers.Reading, err error) {
	for range 1 + crcRetries {
		if readings, err = d.Read(ctx); drivers.CauseOf(err) != drivers.CauseCRC || ctx.Err() != nil {
			break
		}
	}
	return readings, err
}

// silent reports a failure after which the chip hears no farewell.
func silent(err error) bool {
	switch drivers.CauseOf(err) {
	case drivers.CauseNACK, drivers.CauseTimeout, drivers.CauseBusStuck, drivers.CauseUnplugged:
		return true
	}
	return false
}

// open tries the addresses in turn: the first that identifies is it.
func (p *part) open(ctx context.Context) (drivers.Device, error) {
	if p.sheet.Bus == "" {
		return p.driver.Open(ctx, nil, p.options)
	}
	if p.bus == nil {
		if p.busErr == nil {
			return nil, drivers.ErrNoBus
		}
		return nil, p.busErr
	}
	var first error
	for _, a := range p.address {
		d, err := p.driver.Open(ctx, drivers.NewHandle(p.bus, a), p.options)
		if err == nil {
			return d, nil
		}
		if first == nil || errors.Is(first, drivers.ErrNACK) && !errors.Is(err, drivers.ErrNACK) {
			first = err // what answers wrongly says more than what is silent
		}
	}
	return nil, first
}

// doubtMax is the number of equal implausible values, each with a good
// checksum, after which a chip is taken to have lost its supply.
const doubtMax = 3

// doubt counts equal implausible values in a row.
type doubt struct {
	value float64
	times int
}

// after takes the next value that was refused, or nothing when a read was
// good; true when the chip has to be set up anew.
func (d *doubt) after(refused *float64) bool {
	switch {
	case refused == nil:
		*d = doubt{}
		return false
	case d.times > 0 && d.value == *refused:
		d.times++
	default:
		*d = doubt{value: *refused, times: 1}
	}
	if d.times < doubtMax {
		return false
	}
	*d = doubt{}
	return true
}
