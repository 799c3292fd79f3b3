package bus

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/bus/gpiochip"
)

const (
	// pulsesMax are the clock pulses that end any byte a chip may be sending
	// (UM10204, 3.1.16).
	pulsesMax = 9
	// halfPulse keeps the pulses below 100 kHz.
	halfPulse = 5 * time.Microsecond
)

// Free lets go of the adapter and frees the wires: by pulses of the clock when
// the configuration names the lines, else, or when they did not help before, by
// giving the adapter to its driver anew. Whether the kernel has recovery of its
// own cannot be seen; where it has, it has run within the transaction that
// failed.
func (b *i2cBus) Free(context.Context) (string, error) {
	a, err := b.locate()
	if err != nil {
		return "", err
	}
	b.letGo()
	var pulseErr error
	if b.cfg.Recover != nil && !b.pulsed {
		n, err := b.pulse(*b.cfg.Recover)
		if err == nil {
			b.pulsed = true
			return fmt.Sprintf("%d pulses of the clock", n), nil
		}
		pulseErr = err
	}
	b.pulsed = false
	if err := b.rebind(a); err != nil {
		return "", errors.Join(pulseErr, err)
	}
	return "driver of " + a.String() + " bound anew", nil
}

// pulse takes both lines from the controller for a moment.
func (b *i2cBus) pulse(pins drivers.Recover) (int, error) {
	scl, err := b.wire(pins.SCL)
	if err != nil {
		return 0, fmt.Errorf("bus %s: recover.scl: %w", b.cfg.Name, err)
	}
	defer scl.Close()
	sda, err := b.wire(pins.SDA)
	if err != nil {
		return 0, fmt.Errorf("bus %s: recover.sda: %w", b.cfg.Name, err)
	}
	defer sda.Close()
	n, err := clockOut(scl, sda)
	if err != nil {
		return n, fmt.Errorf("bus %s: %w", b.cfg.Name, err)
	}
	return n, nil
}

// openDrain requests a line of the host that only pulls down.
func openDrain(dev string) func(line string) (drivers.OutputLine, error) {
	return func(line string) (drivers.OutputLine, error) {
		l, err := gpiochip.OpenDrain(dev, drivers.PinConfig{Line: line})
		if err != nil {
			return nil, err
		}
		return l, nil
	}
}

// clockOut pulses scl until sda is released, then sends a STOP. Both lines are
// open drain: high lets go.
func clockOut(scl, sda drivers.OutputLine) (int, error) {
	n := 0
	for ; n < pulsesMax; n++ {
		free, err := sda.Read()
		if err != nil {
			return n, err
		}
		if free {
			break
		}
		if err := drive(step{scl, false}, step{scl, true}); err != nil {
			return n, err
		}
	}
	if free, err := sda.Read(); err != nil || !free {
		return n, errors.Join(err, fmt.Errorf("the data line is still held after %d pulses: %w; take the chips' supply away", n, drivers.ErrBusStuck))
	}
	return n, drive(step{scl, false}, step{sda, false}, step{scl, true}, step{sda, true})
}

// step is one level of one line, held for half a pulse.
type step struct {
	line drivers.OutputLine
	high bool
}

func drive(steps ...step) error {
	for _, s := range steps {
		if err := s.line.Write(s.high); err != nil {
			return err
		}
		time.Sleep(halfPulse)
	}
	return nil
}

// rebind takes the adapter from its kernel driver and gives it back, which
// resets the controller. It needs the right to write below /sys.
func (b *i2cBus) rebind(a adapter) error {
	device := filepath.Dir(a.real)
	driver, err := filepath.EvalSymlinks(filepath.Join(device, "driver"))
	if err != nil {
		return fmt.Errorf("bus %s: %s has no driver that could be bound anew: %w", b.cfg.Name, a, drivers.ErrNotClaimed)
	}
	for _, verb := range []string{"unbind", "bind"} {
		file := filepath.Join(driver, verb)
		if err := os.WriteFile(file, []byte(filepath.Base(device)), 0o200); err != nil {
			return fmt.Errorf("bus %s: write %s: %w", b.cfg.Name, file, causeOf(err))
		}
	}
	return nil
}
