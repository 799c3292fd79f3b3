// Package chip declares simulated chips: a table of registers, or a table of
// commands, with what happens when one is written or read.
//
// A chip is written from its datasheet and never imports a driver. What it
// measures comes from a World, in SI units. Conversions take their time by
// time.Now, so that a bubble of testing/synctest moves it. Chips are safe for
// several goroutines; a World is asked while the chip is locked and must not
// call back.
package chip

import (
	"sync"
	"time"
)

// World gives what surrounds the chip, by the name of a channel, in SI units.
type World func(channel string) float64

// Registers is a chip whose messages are a register's number and its bytes.
// Reading goes on with the bytes of the same register and, when Counts is set,
// of the next ones. Fill it in and call PowerLoss once, or use Up.
type Registers struct {
	// Width is the number of bytes of a register; 0 means 1.
	Width int
	// Little puts the low byte first.
	Little bool
	// Counts lets the register number go up after each register read.
	Counts bool
	// Initial holds the values after power-up; the others are 0.
	Initial map[byte]uint32
	// Identity is the register that WrongID falsifies, Falsify the bits of it
	// that turn; 0 means 0x55.
	Identity byte
	Falsify  uint32
	// Fixed lists registers that cannot be written.
	Fixed []byte
	// Wrote tells of a write, after the value was stored.
	Wrote func(reg byte, value uint32)
	// Look brings a register up to now before it is read.
	Look func(reg byte)
	// Started tells of a power-up.
	Started func()

	mu      sync.Mutex
	values  [256]uint32
	pointer byte
	wrong   bool
}

// Up powers the chip up.
func (r *Registers) Up() *Registers {
	r.PowerLoss()
	return r
}

// Get is a register's value. For Wrote and Look only: the chip is locked there.
func (r *Registers) Get(reg byte) uint32 { return r.values[reg] }

// Set changes a register, for Wrote and Look.
func (r *Registers) Set(reg byte, v uint32) { r.values[reg] = v }

// PowerLoss puts every register back to its value after power-up.
func (r *Registers) PowerLoss() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.values, r.pointer = [256]uint32{}, 0
	for reg, v := range r.Initial {
		r.values[reg] = v
	}
	if r.Started != nil {
		r.Started()
	}
}

// WrongID makes the identity register disagree, or agree again.
func (r *Registers) WrongID(wrong bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wrong = wrong
}

func (r *Registers) falsify() uint32 {
	if r.Falsify == 0 {
		return 0x55
	}
	return r.Falsify
}

func (r *Registers) width() int { return max(r.Width, 1) }

// Write takes a register's number and values for it and, when the chip counts,
// for the next ones.
func (r *Registers) Write(b []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pointer, b = b[0], b[1:]
	for reg := r.pointer; len(b) >= r.width(); b = b[r.width():] {
		r.store(reg, r.join(b[:r.width()]))
		if r.Counts {
			reg++
		}
	}
	return nil
}

func (r *Registers) store(reg byte, v uint32) {
	for _, f := range r.Fixed {
		if f == reg {
			return
		}
	}
	r.values[reg] = v
	if r.Wrote != nil {
		r.Wrote(reg, v)
	}
}

// Read gives the bytes of the register that was named last.
func (r *Registers) Read(b []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for reg := r.pointer; len(b) > 0; {
		if r.Look != nil {
			r.Look(reg)
		}
		v := r.values[reg]
		if r.wrong && reg == r.Identity {
			v ^= r.falsify()
		}
		b = b[copy(b, r.split(v)):]
		if r.Counts {
			reg++
		}
	}
	return nil
}

func (r *Registers) join(b []byte) (v uint32) {
	for i := range b {
		if r.Little {
			v |= uint32(b[i]) << (8 * i)
		} else {
			v = v<<8 | uint32(b[i])
		}
	}
	return v
}

func (r *Registers) split(v uint32) []byte {
	b := make([]byte, r.width())
	for i := range b {
		shift := 8 * (len(b) - 1 - i)
		if r.Little {
			shift = 8 * i
		}
		b[i] = byte(v >> shift)
	}
	return b
}

// Conversion is a measurement that takes time.
type Conversion struct{ doneAt time.Time }

// Begin starts one that takes d.
func (c *Conversion) Begin(d time.Duration) { c.doneAt = time.Now().Add(d) }

// Cancel forgets it.
func (c *Conversion) Cancel() { c.doneAt = time.Time{} }

// Running reports that it has begun and not ended.
func (c *Conversion) Running() bool { return time.Now().Before(c.doneAt) }

// Take reports, once, that it has ended.
func (c *Conversion) Take() bool {
	if c.doneAt.IsZero() || c.Running() {
		return false
	}
	c.Cancel()
	return true
}
