package expander

import (
	"errors"
	"fmt"

	"github.com/tidehold/tidehold/drivers"
)

// The registers of port A of an MCP23017, as after power-up (datasheet DS20001952,
// table 3-3); port B follows each.
const (
	mcpDirection = 0x00
	mcpPullUp    = 0x0c
	mcpPins      = 0x12
	mcpLatch     = 0x14
)

// mcp23017 has sixteen lines with a direction, a pull-up and a latch each. It
// keeps nothing: the chip knows all.
type mcp23017 struct{}

func (mcp23017) names() (list []string) {
	for bit := range 16 {
		list = append(list, fmt.Sprintf("GP%c%d", 'A'+bit/8, bit%8))
	}
	return list
}

func (mcp23017) levels(c *chip) (uint16, error) {
	var b [2]byte
	err := c.read(mcpPins, b[:])
	return uint16(b[1])<<8 | uint16(b[0]), err
}

func (mcp23017) input(c *chip, bit int, pull drivers.Pull) error {
	if pull == drivers.PullDown {
		return errors.New("an mcp23017 has no pull-down: wire a resistor")
	}
	if err := c.change(mcpPullUp, bit, pull == drivers.PullUp); err != nil {
		return err
	}
	return c.change(mcpDirection, bit, true)
}

// output writes the latch first. A line that is still an input, and is to keep
// its level, gets the one that stands at the pin.
func (mcp23017) output(c *chip, bit int, level drivers.Level) error {
	direction, err := c.register(mcpDirection + byte(bit/8))
	if err != nil {
		return err
	}
	isInput := direction>>(bit%8)&1 == 1
	switch {
	case level != drivers.Keep:
		err = c.change(mcpLatch, bit, level == drivers.High)
	case isInput:
		var high bool
		if high, err = c.high(bit); err == nil {
			err = c.change(mcpLatch, bit, high)
		}
	}
	if err != nil || !isInput {
		return err
	}
	return c.change(mcpDirection, bit, false)
}

// change sets one bit of a register of two ports, when it differs.
func (c *chip) change(reg byte, bit int, set bool) error {
	reg += byte(bit / 8)
	old, err := c.register(reg)
	if err != nil {
		return err
	}
	v := old &^ (1 << (bit % 8))
	if set {
		v |= 1 << (bit % 8)
	}
	if v == old {
		return nil
	}
	return c.write(reg, v)
}

// pcf8574 has eight lines that are pulled up weakly where a 1 is written: that
// is high and input at once. Its latch cannot be read, so it is kept here, begun
// from the pins.
type pcf8574 struct {
	known bool
	latch byte
}

func (p *pcf8574) names() (list []string) {
	for bit := range 8 {
		list = append(list, fmt.Sprint("P", bit))
	}
	return list
}

func (p *pcf8574) levels(c *chip) (uint16, error) {
	var b [1]byte
	err := c.handle.Tx(c.handle.Address(), nil, b[:])
	return uint16(b[0]), err
}

func (p *pcf8574) input(c *chip, bit int, pull drivers.Pull) error {
	if pull == drivers.PullDown {
		return errors.New("a pcf8574 has no pull-down: wire a resistor")
	}
	return p.output(c, bit, drivers.High)
}

// output writes the whole byte: after a loss of supply all lines get their
// levels back.
func (p *pcf8574) output(c *chip, bit int, level drivers.Level) error {
	if !p.known {
		pins, err := p.levels(c)
		if err != nil {
			return err
		}
		p.known, p.latch = true, byte(pins)
	}
	latch := p.latch
	switch level {
	case drivers.Keep:
		return nil
	case drivers.High:
		latch |= 1 << bit
	case drivers.Low:
		latch &^= 1 << bit
	}
	if err := c.write(latch); err != nil {
		return err
	}
	p.latch = latch
	return nil
}
