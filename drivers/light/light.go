// Package light has the drivers of light sensors: Rohm BH1750 and Vishay
// VEML7700.
package light

import (
	"encoding/binary"
	"time"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/sheet"
)

func illuminance() []drivers.Channel {
	return []drivers.Channel{{Name: "illuminance", Quantity: drivers.Illuminance, Unit: "lx", Decimals: 1, Class: drivers.Measurement}}
}

// BH1750 is Rohm's sensor (datasheet BH1750FVI). Each read is one measurement
// of high resolution, after which the chip switches itself off; so it has
// nothing to lose. It has no identity and no checksum.
func BH1750() drivers.Driver {
	return sheet.Sheet{
		Info: drivers.Info{Name: "bh1750", Bus: "i2c", Addresses: []uint16{0x23, 0x5c}, Identify: "none: it acknowledges power-on 0x01",
			Channels: illuminance(), MaxRead: 500 * time.Millisecond},
		Spans:    []sheet.Span{{Min: 0, Max: 65535 / 1.2}},
		Identify: func(c *sheet.Chip) error { return c.Write(0x01) }, Unsure: true,
		Sample: func(c *sheet.Chip) ([]float64, error) {
			if err := c.Write(0x20); err != nil { // once, 1 lx
				return nil, err
			}
			if err := c.Wait(180 * time.Millisecond); err != nil {
				return nil, err
			}
			b, err := c.Read(2)
			return []float64{float64(binary.BigEndian.Uint16(b)) / 1.2}, err
		},
		Rest: func(c *sheet.Chip) error { return c.Write(0x00) },
	}
}

// The registers of the VEML7700 (datasheet 84286).
const (
	vemlConfig = 0x00
	vemlLight  = 0x04
	vemlID     = 0x07
)

// vemlGains are the codes of a gain; vemlTimes those of an integration time, in
// ms.
var (
	vemlGains = map[float64]uint16{0.125: 2 << 11, 0.25: 3 << 11, 1: 0, 2: 1 << 11}
	vemlTimes = map[int64]uint16{25: 12 << 6, 50: 8 << 6, 100: 0, 200: 1 << 6, 400: 2 << 6, 800: 3 << 6}
)

// VEML7700 is Vishay's sensor. It measures all the time with the gain and the
// integration time of the options; a count that is full is an error, because
// then it may be any amount brighter.
func VEML7700() drivers.Driver {
	return sheet.Sheet{
		Info: drivers.Info{Name: "veml7700", Bus: "i2c", Addresses: []uint16{0x10}, Identify: "register 7 has 0x81 as low byte",
			Channels: illuminance(), MaxRead: 2500 * time.Millisecond,
			Options: []drivers.Option{
				{Name: "gain", Kind: drivers.Number, Default: 0.125, Allowed: []any{0.125, 0.25, 1.0, 2.0}, Doc: "more sees less light finer"},
				{Name: "integration", Kind: drivers.Integer, Default: int64(100), Allowed: []any{int64(25), int64(50), int64(100), int64(200), int64(400), int64(800)}, Doc: "time of one measurement in ms"},
			}},
		Spans: []sheet.Span{{Min: 0, Max: 140000}},
		Identify: func(c *sheet.Chip) error {
			id, err := c.WordLE(vemlID)
			if err == nil && id&0xff != 0x81 {
				err = sheet.Wrong("register 7 reads 0x%04x, want 0x81 as low byte", id)
			}
			return err
		},
		SetUp: vemlSetUp,
		Lost: func(c *sheet.Chip) (bool, error) {
			got, err := c.WordLE(vemlConfig)
			return got != vemlWord(c.Options), err
		},
		Sample: vemlSample,
		Rest:   func(c *sheet.Chip) error { return c.SetWordLE(vemlConfig, 1) },
	}
}

func vemlWord(o drivers.Options) uint16 {
	return vemlGains[o.Float("gain")] | vemlTimes[o.Int("integration")]
}

// vemlSetUp wakes the chip and lets the first measurement end: 2.5 ms to start
// and up to a fifth more than the integration time.
func vemlSetUp(c *sheet.Chip) error {
	if err := c.SetWordLE(vemlConfig, vemlWord(c.Options)); err != nil {
		return err
	}
	return c.Wait(5*time.Millisecond + time.Duration(c.Options.Int("integration"))*1200*time.Microsecond)
}

// vemlSample turns counts into lux. At the low gains the chip bends with much
// light and the application note (84323) straightens it by a polynomial; it is
// used over the whole range of these gains, so that no value is skipped.
func vemlSample(c *sheet.Chip) ([]float64, error) {
	count, err := c.WordLE(vemlLight)
	if err != nil {
		return nil, err
	}
	if count == 0xffff {
		return nil, sheet.Full("light", "take less gain or a shorter integration")
	}
	gain := c.Options.Float("gain")
	lux := float64(count) * resolution(gain, c.Options.Int("integration"))
	if gain < 1 {
		lux = (((6.0135e-13*lux-9.3924e-9)*lux+8.1488e-5)*lux + 1.0023) * lux
	}
	return []float64{lux}, nil
}

// resolution is the light of one count: 0.0042 lx at gain 2 and 800 ms, more in
// proportion.
func resolution(gain float64, ms int64) float64 { return 0.0042 * 2 / gain * 800 / float64(ms) }
