package temperature

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/sheet"
)

// MAX31855 is Maxim's converter for a thermocouple of type K (datasheet
// 19-5793, table 4). Its word has two bits that are always 0 and three that
// tell of a broken or shorted probe; a word of zeros is a line that nobody
// drives.
func MAX31855() drivers.Driver {
	s := thermometer("max31855", "bits 17 and 3 of its word are 0, and the word is not", -270, 1800, 0, 1)
	s.Info.Bus = "spi"
	s.Info.Channels = append(s.Info.Channels, drivers.Channel{Name: "internal", Quantity: drivers.Temperature, Unit: "°C", Decimals: 2, Class: drivers.Measurement})
	s.Spans = append(s.Spans, sheet.Span{Min: -55, Max: 127})
	s.Identify = func(c *sheet.Chip) error {
		_, err := maxWord(c)
		return err
	}
	s.Sample = func(c *sheet.Chip) ([]float64, error) {
		w, err := maxWord(c)
		if err != nil {
			return nil, err
		}
		if w&0x10000 != 0 {
			return nil, fmt.Errorf("thermocouple: %s: %w", probeFault(w), drivers.ErrOutOfRange)
		}
		return []float64{float64(int32(w)>>18) * 0.25, float64(int16(w)>>4) * 0.0625}, nil
	}
	return s
}

func maxWord(c *sheet.Chip) (uint32, error) {
	r := make([]byte, 4)
	if err := c.Tx(make([]byte, 4), r); err != nil {
		return 0, err
	}
	w := binary.BigEndian.Uint32(r)
	if w&(1<<17|1<<3) != 0 || w == 0 {
		return 0, sheet.Wrong("word 0x%08x", w)
	}
	return w, nil
}

func probeFault(w uint32) string {
	switch {
	case w&1 != 0:
		return "no probe is connected"
	case w&2 != 0:
		return "shorted to ground"
	}
	return "shorted to the supply"
}

// The registers and bits of the MAX31865 (datasheet 19-6478, tables 1 and 2).
const (
	rtdConfig  = 0x00
	rtdValue   = 0x01
	rtdLimits  = 0x03
	rtdWrite   = 0x80
	rtdAlways  = 0xc0 // bias on, convert all the time
	rtdThree   = 0x10
	rtdClear   = 0x02
	rtdFifty   = 0x01
	rtdFirst   = 80 * time.Millisecond // bias settles in 10 ms, a conversion takes up to 66
	rtdMaximum = 850.0
)

// MAX31865 is Maxim's converter for platinum resistors. Its fault limits, which
// nobody uses, still have the values of power-up: that identifies it.
func MAX31865() drivers.Driver {
	s := thermometer("max31865", "registers 3 to 6 read 0xffff 0x0000", -200, rtdMaximum, 0, 1)
	s.Info.Bus, s.Info.SPIMode = "spi", 1
	s.Info.Options = []drivers.Option{
		{Name: "resistor", Kind: drivers.Number, Default: 100.0, Allowed: []any{100.0, 500.0, 1000.0}, Doc: "ohms at 0 °C: 100 is a Pt100"},
		{Name: "reference", Kind: drivers.Number, Default: 430.0, Min: 50, Max: 20000, Doc: "the reference resistor in ohms"},
		{Name: "wires", Kind: drivers.Integer, Default: int64(2), Allowed: []any{int64(2), int64(3), int64(4)}},
		{Name: "mains", Kind: drivers.Integer, Default: int64(50), Allowed: []any{int64(50), int64(60)}, Doc: "the frequency in Hz that the filter takes out"},
	}
	s.Identify = func(c *sheet.Chip) error {
		b, err := rtdRead(c, rtdLimits, 4)
		if err == nil && binary.BigEndian.Uint32(b) != 0xffff0000 {
			err = sheet.Wrong("fault limits % x, want ff ff 00 00", b)
		}
		return err
	}
	s.SetUp = func(c *sheet.Chip) error {
		if err := rtdSet(c, rtdWord(c.Options)|rtdClear); err != nil {
			return err
		}
		return c.Wait(rtdFirst)
	}
	s.Lost = func(c *sheet.Chip) (bool, error) {
		b, err := rtdRead(c, rtdConfig, 1)
		return err == nil && b[0] != rtdWord(c.Options), err
	}
	s.Sample = rtdSample
	return s
}

func rtdWord(o drivers.Options) byte {
	word := byte(rtdAlways)
	if o.Int("wires") == 3 {
		word |= rtdThree
	}
	if o.Int("mains") == 50 {
		word |= rtdFifty
	}
	return word
}

func rtdSet(c *sheet.Chip, config byte) error {
	return c.Tx([]byte{rtdWrite | rtdConfig, config}, make([]byte, 2))
}

func rtdRead(c *sheet.Chip, reg byte, n int) ([]byte, error) {
	w, r := make([]byte, n+1), make([]byte, n+1)
	w[0] = reg
	err := c.Tx(w, r)
	return r[1:], err
}

func rtdSample(c *sheet.Chip) ([]float64, error) {
	b, err := rtdRead(c, rtdValue, 2)
	if err != nil {
		return nil, err
	}
	raw := binary.BigEndian.Uint16(b)
	if raw&1 != 0 {
		if err := rtdSet(c, rtdWord(c.Options)|rtdClear); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("probe broken or shorted, or a wire missing: %w", drivers.ErrOutOfRange)
	}
	ohms := float64(raw>>1) / 32768 * c.Options.Float("reference")
	return []float64{platinum(ohms / c.Options.Float("resistor"))}, nil
}

// The coefficients of Callendar and Van Dusen (IEC 60751).
const (
	platinumA = 3.9083e-3
	platinumB = -5.775e-7
	platinumC = -4.183e-12
)

// platinum is the temperature at which platinum has ratio times its resistance
// at 0 °C. Above 0 °C the equation is solved; below, where it has a fourth
// power, Newton's method takes few steps from the same start.
func platinum(ratio float64) float64 {
	t := (-platinumA + math.Sqrt(platinumA*platinumA-4*platinumB*(1-ratio))) / (2 * platinumB)
	for i := 0; i < 5 && t < 0; i++ {
		f := 1 + t*(platinumA+t*(platinumB+t*platinumC*(t-100))) - ratio
		slope := platinumA + t*(2*platinumB+t*platinumC*(4*t-300))
		t -= f / slope
	}
	return t
}
