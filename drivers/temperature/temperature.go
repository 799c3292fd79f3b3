// Package temperature has the drivers of thermometers that measure by
// themselves and keep the result in a register: LM75, TMP102, TMP117 and MCP9808
// on I2C, and on SPI MAX31855 for thermocouples and MAX31865 for platinum
// resistors.
//
// A chip that lost its supply measures again by itself. A TMP117 marks the value
// it has until its first conversion has ended, and its driver waits for a better
// one; the others have nothing that tells.
package temperature

import (
	"time"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/sheet"
)

func thermometer(name, identify string, least, most float64, addresses ...uint16) sheet.Sheet {
	return sheet.Sheet{
		Info: drivers.Info{
			Name: name, Bus: "i2c", Addresses: addresses, Identify: identify, MaxRead: 500 * time.Millisecond,
			Channels: []drivers.Channel{{Name: "temperature", Quantity: drivers.Temperature, Unit: "°C", Decimals: 2, Class: drivers.Measurement}},
		},
		Spans: []sheet.Span{{Min: least, Max: most}},
	}
}

// seven are the addresses of the LM75 and its descendants.
func seven(n uint16) (list []uint16) {
	for a := range n {
		list = append(list, 0x48+a)
	}
	return list
}

// LM75 is NXP's and TI's LM75, and every sensor with its register 0: 9 to 12
// bits, the rest zero. It has no identity.
func LM75() drivers.Driver {
	s := thermometer("lm75", "the four low bits of register 0 are zero", -55, 125, seven(8)...)
	s.Identify, s.Unsure = func(c *sheet.Chip) error { return c.Is(0, 0x000f, 0) }, true
	s.Sample = func(c *sheet.Chip) ([]float64, error) { return signed(c, 0, 0xfff0, 1.0/256) }
	return s
}

// TMP102 is TI's sensor of 12 bits (datasheet SBOS397, section 7.5). It has no
// identity; two bits of its configuration cannot be written.
func TMP102() drivers.Driver {
	s := thermometer("tmp102", "configuration register 1 has resolution bits 11 and a zero end", -55, 128, seven(4)...)
	s.Identify = func(c *sheet.Chip) error { return c.Is(1, 0x600f, 0x6000) }
	s.SetUp = func(c *sheet.Chip) error { return c.SetWord(1, 0x60a0) } // all the time, 4 a second, 12 bits
	s.Lost = configLost(1, 0xffdf, 0x6080)                              // AL follows the temperature
	s.Sample = func(c *sheet.Chip) ([]float64, error) { return signed(c, 0, 0xfff0, 1.0/256) }
	return s
}

// configLost compares a configuration register with what SetUp wrote.
func configLost(reg byte, mask, want uint16) func(*sheet.Chip) (bool, error) {
	return func(c *sheet.Chip) (bool, error) {
		got, err := c.Word(reg)
		return err == nil && got&mask != want, err
	}
}

func signed(c *sheet.Chip, reg byte, mask uint16, step float64) ([]float64, error) {
	w, err := c.Word(reg)
	return []float64{float64(int16(w&mask)) * step}, err
}

// TMP117 is TI's sensor of 16 bits (datasheet SNOSD82, section 7.6).
func TMP117() drivers.Driver {
	s := thermometer("tmp117", "register 0x0f reads 0x117, four high bits aside", -55, 150, seven(4)...)
	s.Identify = func(c *sheet.Chip) error { return c.Is(0x0f, 0x0fff, 0x0117) }
	empty := func(c *sheet.Chip) (bool, error) { // no conversion since power-up (table 7-5)
		w, err := c.Word(0)
		return w == 0x8000, err
	}
	s.Info.MaxRead = 1500 * time.Millisecond // the first conversion takes a second
	s.Lost = empty
	s.SetUp = func(c *sheet.Chip) error {
		if none, err := empty(c); err != nil || !none {
			return err
		}
		return c.Poll(250*time.Millisecond, 5, func() (bool, error) {
			none, err := empty(c)
			return !none, err
		})
	}
	s.Sample = func(c *sheet.Chip) ([]float64, error) { return signed(c, 0, 0xffff, 0.0078125) }
	return s
}

// MCP9808 is Microchip's sensor (datasheet DS25095, section 5.1).
func MCP9808() drivers.Driver {
	s := thermometer("mcp9808", "register 6 reads 0x0054 and the high byte of register 7 0x04", -40, 125, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f)
	s.Identify = func(c *sheet.Chip) error {
		if err := c.Is(6, 0xffff, 0x0054); err != nil {
			return err
		}
		return c.Is(7, 0xff00, 0x0400)
	}
	s.SetUp = func(c *sheet.Chip) error { return c.SetWord(1, 0) } // awake, no alert
	s.Lost = configLost(1, 0xffff, 0)
	s.Sample = func(c *sheet.Chip) ([]float64, error) {
		w, err := c.Word(5)
		return []float64{float64(int16(w<<3)>>3) / 16}, err // three alert bits, sign, 12 bits
	}
	return s
}
