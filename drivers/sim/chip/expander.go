package chip

import "sync"

// Expander is a chip with pins: what it drives, and what the outside does.
type Expander struct {
	*Registers
	mu      sync.Mutex
	outside uint16 // levels that something outside gives to inputs
}

// Drive gives an input pin a level from outside.
func (e *Expander) Drive(bit int, high bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.outside &^= 1 << bit
	if high {
		e.outside |= 1 << bit
	}
}

func (e *Expander) port(n byte) byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	return byte(e.outside >> (8 * n))
}

// Pins are the levels at the pins: the latch where it is an output, the outside
// where it is an input.
func (e *Expander) Pins() uint16 {
	e.Registers.mu.Lock()
	defer e.Registers.mu.Unlock()
	return uint16(e.pins(1))<<8 | uint16(e.pins(0))
}

func (e *Expander) pins(n byte) byte {
	direction, latch := byte(e.Get(n)), byte(e.Get(0x14+n))
	return e.port(n)&direction | latch&^direction
}

// MCP23017 is Microchip's expander of sixteen lines (datasheet DS20001952) with
// its registers in pairs.
func MCP23017() *Expander {
	e := &Expander{}
	e.Registers = &Registers{Counts: true, Initial: map[byte]uint32{0: 0xff, 1: 0xff}}
	e.Look = func(reg byte) {
		if reg == 0x12 || reg == 0x13 {
			e.Set(reg, uint32(e.pins(reg-0x12)))
		}
	}
	e.Wrote = func(reg byte, v uint32) { // a write to the pins goes to the latch
		if reg == 0x12 || reg == 0x13 {
			e.Set(reg+2, v)
		}
	}
	e.Up()
	return e
}

// PCF8574 is NXP's expander of eight lines: one byte, and a pin is low when the
// chip or the outside pulls it down.
type PCF8574 struct {
	mu             sync.Mutex
	latch, outside byte
}

// NewPCF8574 powers the chip up: all lines high.
func NewPCF8574() *PCF8574 { return &PCF8574{latch: 0xff, outside: 0xff} }

// Drive pulls a pin down from outside, or lets it go.
func (p *PCF8574) Drive(bit int, high bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.outside |= 1 << bit
	if !high {
		p.outside &^= 1 << bit
	}
}

// Pins are the levels at the pins.
func (p *PCF8574) Pins() byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.latch & p.outside
}

// Write takes the latch; of several bytes the last stays.
func (p *PCF8574) Write(b []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.latch = b[len(b)-1]
	return nil
}

// Read gives the pins.
func (p *PCF8574) Read(b []byte) error {
	for i := range b {
		b[i] = p.Pins()
	}
	return nil
}

// PowerLoss lets all lines go.
func (p *PCF8574) PowerLoss() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.latch = 0xff
}

// WrongID changes nothing: the chip has no identity.
func (p *PCF8574) WrongID(bool) {}

// PCA9685 is NXP's PWM chip of sixteen channels: asleep after power-up with all
// channels off, the prescaler writable only then.
func PCA9685() *Registers {
	r := &Registers{Counts: true, Initial: map[byte]uint32{0: 0x11, 1: 0x04, 0xfe: 0x1e}}
	for n := range byte(16) {
		r.Initial[0x09+4*n] = 0x10
	}
	divider := r.Initial[0xfe]
	r.Started = func() { divider = 0x1e }
	r.Wrote = func(reg byte, v uint32) {
		if reg != 0xfe {
			return
		}
		if r.Get(0)&0x10 != 0 {
			divider = max(v, 3)
		}
		r.Set(0xfe, divider)
	}
	return r.Up()
}
