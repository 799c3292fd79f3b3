package chip

import (
	"math"
	"sync"

	"time"

	"github.com/tidehold/tidehold/drivers"
)

// Command is what a chip does when it is told so.
type Command struct {
	// Takes is how long the chip does not acknowledge a read afterwards.
	Takes time.Duration
	// Do gets the bytes after the command and gives the bytes to be read; nil
	// answers nothing. The chip is locked.
	Do func(arguments []byte) []byte
	// Identity marks the command that WrongID falsifies.
	Identity bool
}

// Commands is a chip whose messages are a command and its arguments. An unknown
// command and a read without an answer are not acknowledged, nor is anything
// while the chip is busy. Fill it in; it needs no power-up.
type Commands struct {
	// Width is the number of bytes of a command; 0 means 1.
	Width int
	Table map[uint16]Command
	// Started tells of a power-up.
	Started func()
	// Status is read when no answer waits; nil: not acknowledged.
	Status func() []byte

	mu     sync.Mutex
	answer []byte
	busy   Conversion
	wrong  bool
}

// PowerLoss forgets every answer and setting.
func (c *Commands) PowerLoss() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer = nil
	c.busy.Cancel()
	if c.Started != nil {
		c.Started()
	}
}

// WrongID makes the identity command answer as another chip would.
func (c *Commands) WrongID(wrong bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wrong = wrong
}

// Write takes a command.
func (c *Commands) Write(b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	width := max(c.Width, 1)
	if c.busy.Running() || len(b) < width {
		return drivers.ErrNACK
	}
	code := uint16(b[0])
	if width == 2 {
		code = code<<8 | uint16(b[1])
	}
	command, known := c.Table[code]
	if !known {
		return drivers.ErrNACK
	}
	c.answer = nil
	if command.Do != nil {
		c.answer = command.Do(b[width:])
	}
	if c.wrong && command.Identity {
		c.answer = make([]byte, len(c.answer)) // a CRC of zeros is not zero
	}
	c.busy.Begin(command.Takes)
	return nil
}

// Read gives the answer of the last command, and 1 bits after its end.
func (c *Commands) Read(b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	answer := c.answer
	if c.Status != nil && (answer == nil || c.busy.Running()) {
		answer = c.Status()
	} else if answer == nil || c.busy.Running() {
		return drivers.ErrNACK
	}
	for i := range b {
		b[i] = 0xff
	}
	copy(b, answer)
	return nil
}

// Words is the answer of words, high byte first, each with a checksum of
// polynomial 0x31 that starts with start.
func Words(start byte, words ...uint16) []byte {
	var b []byte
	for _, w := range words {
		b = append(b, byte(w>>8), byte(w), crc8(start, byte(w>>8), byte(w)))
	}
	return b
}

func crc8(start byte, b ...byte) byte {
	crc := start
	for _, v := range b {
		for bit := 7; bit >= 0; bit-- {
			carry := crc>>7 ^ v>>bit&1
			crc <<= 1
			if carry != 0 {
				crc ^= 0x31
			}
		}
	}
	return crc
}

// Scale is the whole number nearest to x, within 0 and most.
func Scale(x float64, most uint32) uint32 {
	return uint32(math.Round(min(max(x, 0), float64(most))))
}

// Signed is the whole number nearest to x in n bits, in two's complement.
func Signed(x float64, bits uint) uint32 {
	limit := float64(int64(1) << (bits - 1))
	return uint32(int32(math.Round(min(max(x, -limit), limit-1)))) & (1<<bits - 1)
}
