// Package gas has the drivers of Sensirion's gas sensors: SCD40 and SCD41 for
// carbon dioxide, SGP40 for volatile organic compounds.
//
// Their words carry checksums. The SCD4x measures by itself every five seconds:
// a read waits for the next measurement when the last one was already taken,
// and a chip that lost its supply gives none, so its read fails once and the
// next one starts it again.
package gas

import (
	"errors"
	"time"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/sheet"
)

// The commands of the SCD4x (datasheet SCD4x, section 3).
const (
	scdStart    = 0x21b1
	scdStop     = 0x3f86
	scdReady    = 0xe4b8
	scdRead     = 0xec05
	scdSerial   = 0x3682
	scdAutoCal  = 0x2416
	scdAltitude = 0x2427
)

// ask sends a command and reads n words after the time it takes.
func ask(c *sheet.Chip, command uint16, takes time.Duration, n int, arguments ...uint16) ([]uint16, error) {
	if err := c.Write(sheet.WithCRC(command, arguments...)...); err != nil {
		return nil, err
	}
	if err := c.Wait(takes); err != nil || n == 0 {
		return nil, err
	}
	b, err := c.Read(3 * n)
	if err != nil {
		return nil, err
	}
	return sheet.Words(b, 0xff)
}

// SCD4x is the SCD40 and SCD41.
func SCD4x() drivers.Driver {
	return sheet.Sheet{
		Info: drivers.Info{
			Name: "scd4x", Bus: "i2c", Addresses: []uint16{0x62}, Identify: "serial number 0x3682 has right checksums", MaxRead: 7 * time.Second,
			Channels: []drivers.Channel{
				{Name: "co2", Quantity: drivers.Concentration, Unit: "ppm", Class: drivers.Measurement},
				{Name: "temperature", Quantity: drivers.Temperature, Unit: "°C", Decimals: 1, Class: drivers.Measurement},
				{Name: "humidity", Quantity: drivers.Humidity, Unit: "%", Decimals: 1, Class: drivers.Measurement},
			},
			Options: []drivers.Option{
				{Name: "altitude", Kind: drivers.Integer, Default: int64(0), Min: 0, Max: 3000, Doc: "height of the place in m"},
				{Name: "self_calibration", Kind: drivers.Bool, Default: true, Doc: "take the lowest value of a week for fresh air"},
			},
		},
		Spans:    []sheet.Span{{Min: 1, Max: 40000}, {Min: -10, Max: 60}, {Min: 0, Max: 1}},
		Identify: scdIdentify, SetUp: scdSetUp, Sample: scdSample,
		Rest: func(c *sheet.Chip) error { return c.Write(sheet.WithCRC(scdStop)...) },
	}
}

// scdIdentify stops a measurement first when the chip refuses: while it
// measures it does not tell its serial number.
func scdIdentify(c *sheet.Chip) error {
	_, err := ask(c, scdSerial, time.Millisecond, 3)
	if !errors.Is(err, drivers.ErrNACK) {
		return err
	}
	if _, err := ask(c, scdStop, 500*time.Millisecond, 0); err != nil {
		return err
	}
	_, err = ask(c, scdSerial, time.Millisecond, 3)
	return err
}

func scdSetUp(c *sheet.Chip) error {
	automatic := uint16(0)
	if c.Options.Bool("self_calibration") {
		automatic = 1
	}
	if _, err := ask(c, scdAutoCal, time.Millisecond, 0, automatic); err != nil {
		return err
	}
	if _, err := ask(c, scdAltitude, time.Millisecond, 0, uint16(c.Options.Int("altitude"))); err != nil {
		return err
	}
	_, err := ask(c, scdStart, 0, 0)
	return err
}

func scdSample(c *sheet.Chip) ([]float64, error) {
	err := c.Poll(100*time.Millisecond, 56, func() (bool, error) {
		words, err := ask(c, scdReady, time.Millisecond, 1)
		return err == nil && words[0]&0x7ff != 0, err
	})
	if err != nil {
		return nil, err
	}
	w, err := ask(c, scdRead, time.Millisecond, 3)
	if err != nil {
		return nil, err
	}
	return []float64{float64(w[0]), -45 + 175*float64(w[1])/65535, float64(w[2]) / 65535}, nil
}

// SGP40 gives the raw signal of the sensor, for Sensirion's index algorithm or
// for comparing with itself. It knows temperature and humidity by the options.
func SGP40() drivers.Driver {
	return sheet.Sheet{
		Info: drivers.Info{
			Name: "sgp40", Bus: "i2c", Addresses: []uint16{0x59}, Identify: "serial number 0x3682 has right checksums", MaxRead: 300 * time.Millisecond,
			Channels: []drivers.Channel{{Name: "raw", Quantity: drivers.Count, Class: drivers.Measurement}},
			Options: []drivers.Option{
				{Name: "humidity", Kind: drivers.Number, Default: 50.0, Min: 0, Max: 100, Doc: "relative humidity of the place in %, for compensation"},
				{Name: "temperature", Kind: drivers.Number, Default: 25.0, Min: -45, Max: 130, Doc: "temperature of the place in °C, for compensation"},
			},
		},
		Spans: []sheet.Span{{Min: 1, Max: 65534}},
		Identify: func(c *sheet.Chip) error {
			_, err := ask(c, scdSerial, time.Millisecond, 3)
			return err
		},
		Sample: func(c *sheet.Chip) ([]float64, error) {
			rh, t := c.Options.Float("humidity")/100*65535+0.5, (c.Options.Float("temperature")+45)/175*65535+0.5
			w, err := ask(c, 0x260f, 30*time.Millisecond, 1, uint16(rh), uint16(t))
			if err != nil {
				return nil, err
			}
			return []float64{float64(w[0])}, nil
		},
		Rest: func(c *sheet.Chip) error { return c.Write(sheet.WithCRC(0x3615)...) }, // heater off
	}
}
