// Package humidity has the drivers of humidity and temperature sensors that
// measure on command: Sensirion SHT3x and SHT4x, TI HDC302x, Aosong AHT20,
// TE HTU21D and Silicon Labs Si7021.
//
// Each read is one single-shot measurement, so a chip that lost its supply
// between two reads is none the worse. All answers carry a checksum. Humidity
// is clamped to 0..1 where the datasheet says that the formula may leave it.
package humidity

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/sheet"
)

func describe(name, identify string, addresses ...uint16) drivers.Info {
	return drivers.Info{
		Name: name, Bus: "i2c", Addresses: addresses, Identify: identify, MaxRead: 500 * time.Millisecond,
		Channels: []drivers.Channel{
			{Name: "temperature", Quantity: drivers.Temperature, Unit: "°C", Decimals: 2, Class: drivers.Measurement},
			{Name: "humidity", Quantity: drivers.Humidity, Unit: "%", Decimals: 1, Class: drivers.Measurement},
		},
	}
}

// spans are the limits of operation of all these sensors: beyond -40..125 °C
// none of them measures.
func spans() []sheet.Span { return []sheet.Span{{Min: -40, Max: 125}, {Min: 0, Max: 1}} }

// shot is a way to measure: its command and the longest it takes.
type shot struct {
	command uint16
	takes   time.Duration
}

func repeatability() drivers.Option {
	return drivers.Option{Name: "repeatability", Kind: drivers.Text, Default: "high", Allowed: []any{"high", "medium", "low"},
		Doc: "less is faster and noisier"}
}

// SHT3x is Sensirion's SHT30, SHT31 and SHT35 (datasheet SHT3x-DIS, section 4).
func SHT3x() drivers.Driver {
	shots := map[string]shot{"high": {0x2400, 16 * time.Millisecond}, "medium": {0x240b, 7 * time.Millisecond}, "low": {0x2416, 5 * time.Millisecond}}
	s := sheet.Sheet{
		Info: describe("sht3x", "status register 0xf32d has a right checksum", 0x44, 0x45), Spans: spans(),
		Identify: func(c *sheet.Chip) error {
			_, err := ask(c, 0xf32d, 3)
			return err
		},
		SetUp:  stopPeriodic,
		Sample: func(c *sheet.Chip) ([]float64, error) { return single(c, shots) },
	}
	s.Info.Options = []drivers.Option{repeatability()}
	return s
}

// HDC302x is TI's HDC3020, HDC3021 and HDC3022 (datasheet SNAS778, section 7.5).
func HDC302x() drivers.Driver {
	shots := map[string]shot{"high": {0x2400, 15 * time.Millisecond}, "medium": {0x240b, 9 * time.Millisecond}, "low": {0x2416, 6 * time.Millisecond}}
	s := sheet.Sheet{
		Info: describe("hdc302x", "manufacturer id 0x3781 reads 0x3000", 0x44, 0x45, 0x46, 0x47), Spans: spans(),
		Identify: func(c *sheet.Chip) error {
			words, err := ask(c, 0x3781, 3)
			if err == nil && words[0] != 0x3000 {
				err = sheet.Wrong("manufacturer id 0x%04x, want 0x3000", words[0])
			}
			return err
		},
		SetUp:  stopPeriodic,
		Sample: func(c *sheet.Chip) ([]float64, error) { return single(c, shots) },
	}
	s.Info.Options = []drivers.Option{repeatability()}
	return s
}

// single takes one measurement, in the way of the wanted repeatability.
func single(c *sheet.Chip, shots map[string]shot) ([]float64, error) {
	words, err := measure(c, shots[c.Options.Text("repeatability")])
	if err != nil {
		return nil, err
	}
	return []float64{celsius(words[0]), float64(words[1]) / 65535}, nil
}

// stopPeriodic ends a measurement mode that another program left on: in it the
// chip does not know single shots.
func stopPeriodic(c *sheet.Chip) error {
	if err := c.Write(0x30, 0x93); err != nil {
		return err
	}
	return c.Wait(time.Millisecond)
}

// celsius is -45 + 175·r/65535, of Sensirion and of TI.
func celsius(word uint16) float64 { return -45 + 175*float64(word)/65535 }

// ask gives the words of the answer to a command that takes no time.
func ask(c *sheet.Chip, command uint16, n int) ([]uint16, error) {
	b := make([]byte, n)
	if err := c.Tx(binary.BigEndian.AppendUint16(nil, command), b); err != nil {
		return nil, err
	}
	return sheet.Words(b, 0xff)
}

// measure gives temperature and humidity, raw.
func measure(c *sheet.Chip, s shot) ([]uint16, error) {
	if err := c.Write(byte(s.command>>8), byte(s.command)); err != nil {
		return nil, err
	}
	return collect(c, s.takes, 6, 0xff)
}

// collect waits for a measurement and reads its words.
func collect(c *sheet.Chip, takes time.Duration, n int, crcStart byte) ([]uint16, error) {
	if err := c.Wait(takes); err != nil {
		return nil, err
	}
	b, err := c.Read(n)
	if err != nil {
		return nil, err
	}
	return sheet.Words(b, crcStart)
}

// SHT4x is Sensirion's SHT40, SHT41 and SHT45 (datasheet SHT4x, section 4).
func SHT4x() drivers.Driver {
	shots := map[string]shot{"high": {0xfd, 9 * time.Millisecond}, "medium": {0xf6, 5 * time.Millisecond}, "low": {0xe0, 2 * time.Millisecond}}
	s := sheet.Sheet{
		Info: describe("sht4x", "serial number 0x89 has right checksums", 0x44, 0x45, 0x46), Spans: spans(),
		Identify: func(c *sheet.Chip) error {
			if err := c.Write(0x89); err != nil {
				return err
			}
			_, err := collect(c, time.Millisecond, 6, 0xff)
			return err
		},
		Sample: func(c *sheet.Chip) ([]float64, error) {
			how := shots[c.Options.Text("repeatability")]
			if err := c.Write(byte(how.command)); err != nil {
				return nil, err
			}
			words, err := collect(c, how.takes, 6, 0xff)
			if err != nil {
				return nil, err
			}
			return []float64{celsius(words[0]), clamp(-0.06 + 1.25*float64(words[1])/65535)}, nil
		},
	}
	s.Info.Options = []drivers.Option{repeatability()}
	return s
}

func clamp(ratio float64) float64 { return min(max(ratio, 0), 1) }

// HTU21D is TE's sensor and its likes (SHT21, GY-21).
func HTU21D() drivers.Driver {
	return twoShots("htu21d", "user register 0xe7 has the bits of a reset", func(c *sheet.Chip) error {
		b, err := c.Bytes(0xe7, 1)
		if err == nil && b[0]&6 != 2 { // reload of the memory off, heater off
			err = sheet.Wrong("user register 0x%02x, want bit 1 set and bit 2 clear", b[0])
		}
		return err
	})
}

// Si7021 is Silicon Labs' Si7021, and Si7013 and Si7020 with the same commands.
// Its electronic id is not asked for: the two bytes of that command would set
// the outputs of a PCA9685 at the same address.
func Si7021() drivers.Driver {
	return twoShots("si7021", "user register 0xe7 has the bits of a reset", func(c *sheet.Chip) error {
		b, err := c.Bytes(0xe7, 1)
		if err == nil && b[0]&0x3e != 0x3a { // reserved bits set, heater off
			err = sheet.Wrong("user register 0x%02x, want the bits 0x3a", b[0])
		}
		return err
	})
}

// twoShots are the sensors at 0x40 that measure temperature and humidity one
// after the other without holding the clock. The two low bits of a word say
// which it is; the checksum starts with 0.
func twoShots(name, rule string, identify func(*sheet.Chip) error) drivers.Driver {
	return sheet.Sheet{
		Info: describe(name, rule, 0x40), Spans: spans(), Identify: identify, Unsure: true,
		Sample: func(c *sheet.Chip) ([]float64, error) {
			t, err := oneShot(c, shot{0xf3, 50 * time.Millisecond})
			if err != nil {
				return nil, err
			}
			h, err := oneShot(c, shot{0xf5, 25 * time.Millisecond})
			if err != nil {
				return nil, err
			}
			return []float64{-46.85 + 175.72*t, clamp(-0.06 + 1.25*h)}, nil
		},
	}
}

// oneShot gives one raw value as a share of its full scale.
func oneShot(c *sheet.Chip, s shot) (float64, error) {
	if err := c.Write(byte(s.command)); err != nil {
		return 0, err
	}
	words, err := collect(c, s.takes, 3, 0)
	if err != nil {
		return 0, err
	}
	return float64(words[0]&^3) / 65536, nil
}

// The status bits of an AHT20.
const (
	ahtBusy       = 0x80
	ahtCalibrated = 0x08
)

// AHT20 is Aosong's sensor (datasheet AHT20, section 5). It has no identity: a
// chip whose measurement has the right checksum is one.
func AHT20() drivers.Driver {
	return sheet.Sheet{
		Info: describe("aht20", "a measurement 0xac3300 has a right checksum", 0x38), Spans: spans(), Unsure: true,
		Identify: func(c *sheet.Chip) error {
			_, err := ahtMeasure(c)
			return err
		},
		SetUp: func(c *sheet.Chip) error {
			if err := c.Write(0xbe, 0x08, 0x00); err != nil {
				return err
			}
			return c.Wait(10 * time.Millisecond)
		},
		Lost: func(c *sheet.Chip) (bool, error) {
			b, err := c.Bytes(0x71, 1)
			return err == nil && b[0]&ahtCalibrated == 0, err
		},
		Sample: func(c *sheet.Chip) ([]float64, error) {
			b, err := ahtMeasure(c)
			if err != nil {
				return nil, err
			}
			h := uint32(b[1])<<12 | uint32(b[2])<<4 | uint32(b[3])>>4
			t := uint32(b[3]&15)<<16 | uint32(b[4])<<8 | uint32(b[5])
			return []float64{float64(t)/(1<<20)*200 - 50, float64(h) / (1 << 20)}, nil
		},
	}
}

// ahtMeasure gives status, two values of 20 bits and their checksum.
func ahtMeasure(c *sheet.Chip) (b []byte, err error) {
	if err := c.Write(0xac, 0x33, 0x00); err != nil {
		return nil, err
	}
	err = c.Poll(80*time.Millisecond, 2, func() (bool, error) {
		b, err = c.Read(7)
		return err == nil && b[0]&ahtBusy == 0, err
	})
	if err != nil {
		return nil, err
	}
	if want := sheet.CRC8(sheet.Sensirion, 0xff, b[:6]); b[6] != want {
		return nil, fmt.Errorf("measurement: 0x%02x, want 0x%02x: %w", b[6], want, drivers.ErrCRC)
	}
	return b, nil
}
