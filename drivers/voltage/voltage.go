// Package voltage has the drivers of analog-to-digital converters: TI ADS1115
// and ADS1015 on I2C, Microchip MCP3008 on SPI.
//
// Each read converts every input once, on command. An ADS1x15 is asked whether
// its conversion has ended, because its clock may be a tenth slow and what it
// answers before is the input measured last.
package voltage

import (
	"fmt"
	"time"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/sheet"
)

func inputs(prefix string, n int) (list []drivers.Channel) {
	for i := range n {
		list = append(list, drivers.Channel{Name: fmt.Sprint(prefix, i), Quantity: drivers.Voltage, Unit: "V", Decimals: 4, Class: drivers.Measurement})
	}
	return list
}

// The registers of the ADS1x15 (datasheet SBAS444, section 8.1).
const (
	adsResult = 0x00
	adsConfig = 0x01
	adsLow    = 0x02
	adsHigh   = 0x03
	adsOne    = 0x8103 // begin one conversion of one input; no comparator
)

// adsRanges are the codes of a full scale in volts.
var adsRanges = map[float64]uint16{6.144: 0, 4.096: 1, 2.048: 2, 1.024: 3, 0.512: 4, 0.256: 5}

// ADS1115 has four inputs of 16 bits. It has no identity; its comparator, which
// nobody uses, still has the limits of power-up.
func ADS1115() drivers.Driver {
	return ads("ads1115", 16, []int64{128, 8, 16, 32, 64, 250, 475, 860}, map[int64]uint16{8: 0, 16: 1, 32: 2, 64: 3, 128: 4, 250: 5, 475: 6, 860: 7})
}

// ADS1015 is the faster one of 12 bits.
func ADS1015() drivers.Driver {
	return ads("ads1015", 12, []int64{1600, 128, 250, 490, 920, 2400, 3300}, map[int64]uint16{128: 0, 250: 1, 490: 2, 920: 3, 1600: 4, 2400: 5, 3300: 6})
}

func ads(name string, bits uint, rates []int64, codes map[int64]uint16) drivers.Driver {
	var allowed []any
	for _, r := range rates {
		allowed = append(allowed, r)
	}
	span := sheet.Span{Min: -6.144, Max: 6.144}
	return sheet.Sheet{
		Info: drivers.Info{
			Name: name, Bus: "i2c", Addresses: []uint16{0x48, 0x49, 0x4a, 0x4b}, Identify: "registers 2 and 3 read 0x8000 and 0x7fff",
			Channels: inputs("a", 4), MaxRead: time.Second,
			Options: []drivers.Option{
				{Name: "range", Kind: drivers.Number, Default: 4.096, Allowed: []any{6.144, 4.096, 2.048, 1.024, 0.512, 0.256}, Doc: "full scale in V; no input may have more than the supply"},
				{Name: "rate", Kind: drivers.Integer, Default: rates[0], Allowed: allowed, Doc: "conversions per second; slower is less noisy"},
			}},
		Spans: []sheet.Span{span, span, span, span}, Unsure: true, // ADS1015 and ADS1115 look alike
		Identify: func(c *sheet.Chip) error {
			if err := c.Is(adsLow, 0xffff, 0x8000); err != nil {
				return err
			}
			return c.Is(adsHigh, 0xfff0, 0x7ff0)
		},
		Sample: func(c *sheet.Chip) ([]float64, error) {
			config := adsOne | adsRanges[c.Options.Float("range")]<<9 | codes[c.Options.Int("rate")]<<5
			var volts []float64
			for input := range uint16(4) {
				v, err := convert(c, bits, config|(4+input)<<12)
				if err != nil {
					return nil, fmt.Errorf("a%d: %w", input, err)
				}
				volts = append(volts, v)
			}
			return volts, nil
		},
	}
}

// convert makes one conversion and waits for its end.
func convert(c *sheet.Chip, bits uint, config uint16) (float64, error) {
	if err := c.SetWord(adsConfig, config); err != nil {
		return 0, err
	}
	period := time.Second / time.Duration(c.Options.Int("rate"))
	err := c.Poll(period/2+100*time.Microsecond, 6, func() (bool, error) {
		got, err := c.Word(adsConfig)
		if err == nil && got&0x7fff != config&0x7fff {
			err = fmt.Errorf("the configuration changed to 0x%04x during a conversion: %w", got, drivers.ErrStale)
		}
		return got&0x8000 != 0, err
	})
	if err != nil {
		return 0, err
	}
	raw, err := c.Word(adsResult)
	if err != nil {
		return 0, err
	}
	steps, full := int16(raw)>>(16-bits), int16(1<<(bits-1)-1)
	if steps == full {
		return 0, sheet.Full("the voltage", "take a larger range")
	}
	return float64(steps) * c.Options.Float("range") / float64(int(1)<<(bits-1)), nil
}

// MCP3008 has eight inputs of 10 bits against its reference (datasheet
// DS21295). The bit before a value is 0; where nobody drives the line it is not.
func MCP3008() drivers.Driver {
	s := sheet.Sheet{
		Info: drivers.Info{
			Name: "mcp3008", Bus: "spi", Addresses: []uint16{0, 1}, Identify: "the bit before a value is 0",
			Channels: inputs("ch", 8), MaxRead: 200 * time.Millisecond,
			Options: []drivers.Option{{Name: "reference", Kind: drivers.Number, Default: 3.3, Min: 0.25, Max: 6, Doc: "voltage at VREF"}},
		},
		Identify: func(c *sheet.Chip) error {
			_, err := mcp(c, 0)
			return err
		},
		Sample: func(c *sheet.Chip) ([]float64, error) {
			var volts []float64
			for ch := range byte(8) {
				raw, err := mcp(c, ch)
				if err != nil {
					return nil, err
				}
				volts = append(volts, float64(raw)/1024*c.Options.Float("reference"))
			}
			return volts, nil
		},
	}
	for range 8 {
		s.Spans = append(s.Spans, sheet.Span{Min: 0, Max: 6})
	}
	return s
}

// mcp converts one input: a start bit, single-ended and the input's number.
func mcp(c *sheet.Chip, ch byte) (uint16, error) {
	r := make([]byte, 3)
	if err := c.Tx([]byte{1, (8 + ch) << 4, 0}, r); err != nil {
		return 0, err
	}
	if r[1]&4 != 0 {
		return 0, sheet.Wrong("input %d: no zero before the value, % x", ch, r)
	}
	return uint16(r[1]&3)<<8 | uint16(r[2]), nil
}
