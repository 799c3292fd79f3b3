package sheet

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/tidehold/tidehold/drivers"
)

// Chip is the chip during one call of a Sheet's function.
type Chip struct {
	// Options are the checked options of the part.
	Options drivers.Options

	handle *drivers.Handle
}

// Tx writes w, then reads r, in one transaction. On SPI both have one length
// and go over the wire at once.
func (c *Chip) Tx(w, r []byte) error { return c.handle.Tx(c.handle.Address(), w, r) }

// Write sends bytes.
func (c *Chip) Write(b ...byte) error { return c.Tx(b, nil) }

// Read takes n bytes without saying which.
func (c *Chip) Read(n int) ([]byte, error) {
	b := make([]byte, n)
	return b, c.Tx(nil, b)
}

// Bytes takes n bytes from register reg on.
func (c *Chip) Bytes(reg byte, n int) ([]byte, error) {
	b := make([]byte, n)
	return b, c.Tx([]byte{reg}, b)
}

// Word reads a 16-bit register, high byte first.
func (c *Chip) Word(reg byte) (uint16, error) {
	var b [2]byte
	err := c.Tx([]byte{reg}, b[:])
	return binary.BigEndian.Uint16(b[:]), err
}

// WordLE reads a 16-bit register, low byte first.
func (c *Chip) WordLE(reg byte) (uint16, error) {
	var b [2]byte
	err := c.Tx([]byte{reg}, b[:])
	return binary.LittleEndian.Uint16(b[:]), err
}

// SetWord writes a 16-bit register, high byte first.
func (c *Chip) SetWord(reg byte, v uint16) error { return c.Write(reg, byte(v>>8), byte(v)) }

// SetWordLE writes a 16-bit register, low byte first.
func (c *Chip) SetWordLE(reg byte, v uint16) error { return c.Write(reg, byte(v), byte(v>>8)) }

// Is compares a register's word with what the datasheet prints; another value
// is ErrWrongChip. Bits outside mask do not count.
func (c *Chip) Is(reg byte, mask, want uint16) error {
	got, err := c.Word(reg)
	if err == nil && got&mask != want {
		err = Wrong("register 0x%02x reads 0x%04x, want 0x%04x", reg, got&mask, want)
	}
	return err
}

// Wait lets a conversion end, and others have the bus meanwhile; ErrTimeout when
// the deadline comes first.
func (c *Chip) Wait(d time.Duration) error {
	if err := c.handle.Rest(d); err != nil {
		return fmt.Errorf("conversion: %w", err)
	}
	return nil
}

// Poll asks done every pause until it says yes; ErrTimeout after limit pauses.
func (c *Chip) Poll(pause time.Duration, limit int, done func() (bool, error)) error {
	for range limit {
		if err := c.Wait(pause); err != nil {
			return err
		}
		if ok, err := done(); ok || err != nil {
			return err
		}
	}
	return fmt.Errorf("chip not ready after %v: %w", time.Duration(limit)*pause, drivers.ErrTimeout)
}

// Wrong is an ErrWrongChip that says what was seen.
func Wrong(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, drivers.ErrWrongChip)...)
}

// Full is the error of a value at the end of its scale, which may stand for any
// larger one. hint says what to change.
func Full(what, hint string) error {
	return fmt.Errorf("%s is at the end of its scale (%s): %w", what, hint, drivers.ErrOutOfRange)
}
