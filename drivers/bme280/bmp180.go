package bme280

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/sheet"
)

// The registers of the BMP180 (datasheet BST-BMP180-DS000, section 4).
const (
	bmp180Trim    = 0xaa
	bmp180Control = 0xf4
	bmp180Result  = 0xf6
)

// BMP180 is the driver of the BMP180, and of the BMP085 before it. Each read is
// one measurement on command, and takes the trimming with it: a chip that lost
// its supply is none the worse.
func BMP180() drivers.Driver {
	sheetOf280 := describe()
	return sheet.Sheet{
		Info: drivers.Info{
			Name: "bmp180", Bus: "i2c", Addresses: []uint16{0x77}, Identify: "register 0xd0 reads 0x55", MaxRead: maxRead,
			Channels: []drivers.Channel{sheetOf280.Channels[0], sheetOf280.Channels[2]},
			Options: []drivers.Option{{Name: "oversampling", Kind: drivers.Integer, Default: int64(1),
				Allowed: []any{int64(1), int64(2), int64(4), int64(8)}, Doc: "samples taken for one pressure"}},
		},
		Spans: []sheet.Span{{Min: -40, Max: 85}, {Min: 30000, Max: 110000}},
		Identify: func(c *sheet.Chip) error {
			b, err := c.Bytes(regID, 1)
			if err == nil && b[0] != 0x55 {
				err = sheet.Wrong("id 0x%02x, want 0x55", b[0])
			}
			return err
		},
		Sample: func(c *sheet.Chip) ([]float64, error) {
			trim, err := readTrim(c)
			if err != nil {
				return nil, err
			}
			return trim.measure(c)
		},
	}
}

// trim180 is what the factory wrote: AC1..AC6, B1, B2, MB, MC, MD. AC4..AC6 are
// unsigned.
type trim180 [11]float64

func readTrim(c *sheet.Chip) (t trim180, err error) {
	b, err := c.Bytes(bmp180Trim, 2*len(t))
	if err != nil {
		return t, err
	}
	for i := range t {
		word := binary.BigEndian.Uint16(b[2*i:])
		if word == 0 || word == 0xffff { // section 3.4: none of them ever is
			return t, fmt.Errorf("trimming word %d is 0x%04x: %w", i, word, drivers.ErrCRC)
		}
		t[i] = float64(int16(word))
		if i >= 3 && i <= 5 {
			t[i] = float64(word)
		}
	}
	return t, nil
}

func (t trim180) measure(c *sheet.Chip) ([]float64, error) {
	raw, err := convert180(c, 0x2e, 5*time.Millisecond, 2)
	if err != nil {
		return nil, err
	}
	shift := map[int64]uint{1: 0, 2: 1, 4: 2, 8: 3}[c.Options.Int("oversampling")]
	takes := []time.Duration{5, 8, 14, 26}[shift] * time.Millisecond
	up, err := convert180(c, 0x34|byte(shift)<<6, takes, 3)
	if err != nil {
		return nil, err
	}
	b5 := t.b5(raw)
	return []float64{b5 / 160, t.pressure(up/256, b5)}, nil
}

// convert180 makes one conversion and reads it as a whole number.
func convert180(c *sheet.Chip, command byte, takes time.Duration, n int) (float64, error) {
	if err := c.Write(bmp180Control, command); err != nil {
		return 0, err
	}
	if err := c.Wait(takes); err != nil {
		return 0, err
	}
	b, err := c.Bytes(bmp180Result, n)
	v := 0.0
	for _, x := range b {
		v = v*256 + float64(x)
	}
	return v, err
}

// b5 is the intermediate value of figure 4; b5/160 is °C.
func (t trim180) b5(raw float64) float64 {
	x1 := (raw - t[5]) * t[4] / (1 << 15)
	return x1 + t[9]*(1<<11)/(x1+t[10])
}

// pressure is figure 4 without the roundings of its integers, in Pa. up is the
// raw value in units of one sample: the shifts of oversampling cancel out.
func (t trim180) pressure(up, b5 float64) float64 {
	b6 := b5 - 4000
	squared := b6 * b6 / (1 << 12)
	b3 := (t[0]*4 + t[7]*squared/(1<<11) + t[1]*b6/(1<<11)) / 4
	b4 := t[3] * ((t[2]*b6/(1<<13)+t[6]*squared/(1<<16))/4 + 32768) / (1 << 15)
	p := (up - b3) * 50000 * 2 / b4
	x1 := p / 256 * p / 256 * 3038 / (1 << 16)
	return p + (x1-7357*p/(1<<16)+3791)/16
}
