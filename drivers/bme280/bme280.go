// Package bme280 drives Bosch's BME280 and BMP280 with periph's bmxx80 driver,
// and the older BMP180 by itself, because periph's code for it divides by zero
// on a chip that lies.
//
// It adds what that driver has no place for: a deadline per read (by the
// Handle), the true cause of a failed transaction, the chip's identity as
// ErrWrongChip, and a look at the configuration before each read, because a
// chip that lost its supply forgets it and then measures no humidity without
// saying so. Such a chip is set up again on the spot. SenseContinuous is never
// used: it starts goroutines and hides errors.
package bme280

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tidehold/tidehold/drivers"

	"periph.io/x/conn/v3/physic"
	"periph.io/x/devices/v3/bmxx80"
)

// Registers that the periph driver does not show (datasheet, section 5.3).
const (
	regID       = 0xd0
	regCtrlHum  = 0xf2
	regCtrlMeas = 0xf4
	chipID      = 0x60
	bmp280ID    = 0x58
)

// maxRead bounds a read: 16 times oversampling of all channels converts in
// 113 ms at most, the rest is for transactions and their retries.
const maxRead = 500 * time.Millisecond

// Driver is the driver of the BME280.
type Driver struct{ dry bool }

// BMP280 is the driver of the BMP280: a BME280 without humidity.
func BMP280() Driver { return Driver{dry: true} }

var _ drivers.Recognizer = Driver{}

// Describe tells channels, addresses and options.
func (d Driver) Describe() drivers.Info {
	sheet := describe()
	if d.dry {
		sheet.Name, sheet.Identify = "bmp280", "register 0xd0 reads 0x58"
		sheet.Channels = slices.Delete(sheet.Channels, 1, 2)
		sheet.Options[0].Members = sheet.Options[0].Members[:2]
	}
	return sheet
}

func describe() drivers.Info {
	samples := []any{int64(1), int64(2), int64(4), int64(8), int64(16)}
	orOff := append([]any{int64(0)}, samples...)
	return drivers.Info{
		Name: "bme280", Bus: "i2c", Addresses: []uint16{0x76, 0x77},
		Identify: "register 0xd0 reads 0x60", MaxRead: maxRead,
		Channels: []drivers.Channel{
			{Name: "temperature", Quantity: drivers.Temperature, Unit: "°C", Decimals: 2, Class: drivers.Measurement},
			{Name: "humidity", Quantity: drivers.Humidity, Unit: "%", Decimals: 1, Class: drivers.Measurement},
			{Name: "pressure", Quantity: drivers.Pressure, Unit: "hPa", Decimals: 2, Class: drivers.Measurement},
		},
		Options: []drivers.Option{
			{Name: "oversampling", Kind: drivers.Group, Doc: "samples taken for one value", Members: []drivers.Option{
				{Name: "temperature", Kind: drivers.Integer, Default: int64(1), Allowed: samples},
				{Name: "pressure", Kind: drivers.Integer, Default: int64(1), Allowed: orOff, Doc: "0: not measured"},
				{Name: "humidity", Kind: drivers.Integer, Default: int64(1), Allowed: orOff, Doc: "0: not measured"},
			}},
			{Name: "iir", Kind: drivers.Integer, Default: int64(0), Allowed: []any{int64(0), int64(2), int64(4), int64(8), int64(16)},
				Doc: "coefficient of the chip's filter; not 0: the chip measures all the time"},
			{Name: "standby", Kind: drivers.Duration, Default: 500 * time.Millisecond, Min: 0.0005, Max: 1, Doc: "pause between measurements while iir is not 0"},
		},
	}
}

// oversampling gives the field of a number of samples.
var oversampling = map[int64]bmxx80.Oversampling{0: bmxx80.Off, 1: bmxx80.O1x, 2: bmxx80.O2x, 4: bmxx80.O4x, 8: bmxx80.O8x, 16: bmxx80.O16x}

var filters = map[int64]bmxx80.Filter{0: bmxx80.NoFilter, 2: bmxx80.F2, 4: bmxx80.F4, 8: bmxx80.F8, 16: bmxx80.F16}

// Open identifies the chip and writes its settings.
func (k Driver) Open(ctx context.Context, h *drivers.Handle, opt drivers.Options) (drivers.Device, error) {
	group := opt.Group("oversampling")
	d := k.at(h)
	d.opts = bmxx80.Opts{
		Temperature: oversampling[group.Int("temperature")],
		Pressure:    oversampling[group.Int("pressure")],
		Humidity:    oversampling[group.Int("humidity")],
		Filter:      filters[opt.Int("iir")],
	}
	if d.opts.Filter != bmxx80.NoFilter {
		d.opts.Standby = opt.Duration("standby")
	}
	if err := d.Identify(ctx); err != nil {
		return nil, err
	}
	if err := h.Do(ctx, d.setUp); err != nil {
		return nil, fmt.Errorf("%s set up: %w", d.name, err)
	}
	return d, nil
}

// Recognize reads the identity register.
func (k Driver) Recognize(ctx context.Context, h *drivers.Handle) error { return k.at(h).Identify(ctx) }

// Distinct is true: Bosch gives each kind of chip a number of its own.
func (Driver) Distinct() bool { return true }

func (k Driver) at(h *drivers.Handle) *device {
	if k.dry {
		return &device{name: "bmp280", id: bmp280ID, handle: h}
	}
	return &device{name: "bme280", id: chipID, handle: h}
}

type device struct {
	name    string
	id      byte
	handle  *drivers.Handle
	opts    bmxx80.Opts
	dev     *bmxx80.Dev
	readyAt time.Time // normal mode: the first conversion has ended
}

// setUp reads the calibration and writes the settings.
func (d *device) setUp() error {
	dev, err := bmxx80.NewI2C(d.handle, d.handle.Address(), &d.opts)
	if err != nil {
		return err
	}
	d.dev = dev
	if d.continuous() {
		d.readyAt = time.Now().Add(conversionMax(d.opts))
	}
	return nil
}

func (d *device) continuous() bool { return d.opts.Standby > 0 }

// conversionMax is the longest conversion time (datasheet, section 9.1).
func conversionMax(o bmxx80.Opts) time.Duration {
	d := 1250 * time.Microsecond
	for i, os := range []bmxx80.Oversampling{o.Temperature, o.Pressure, o.Humidity} {
		if os == bmxx80.Off {
			continue
		}
		d += time.Duration(1<<(os-1)) * 2300 * time.Microsecond
		if i > 0 {
			d += 575 * time.Microsecond
		}
	}
	return d
}

// Identify reads the identity register.
func (d *device) Identify(ctx context.Context) error {
	return d.handle.Do(ctx, func() error {
		id, err := d.register(regID)
		if err != nil {
			return fmt.Errorf("%s identify: %w", d.name, err)
		}
		if id != d.id {
			return fmt.Errorf("%s identify %s: id 0x%02x, want 0x%02x: %w", d.name, d.handle, id, d.id, drivers.ErrWrongChip)
		}
		return nil
	})
}

func (d *device) register(reg byte) (byte, error) {
	var b [1]byte
	err := d.handle.Conn().Tx([]byte{reg}, b[:])
	return b[0], err
}

// Read takes one sample.
func (d *device) Read(ctx context.Context) ([]drivers.Reading, error) {
	var env physic.Env
	err := d.handle.Do(ctx, func() error {
		if err := d.restore(); err != nil {
			return err
		}
		if wait := time.Until(d.readyAt); d.continuous() && wait > 0 {
			time.Sleep(wait)
		}
		return d.dev.Sense(&env)
	})
	if err != nil {
		return nil, fmt.Errorf("%s read: %w", d.name, err)
	}
	return d.readings(env)
}

// restore sets the chip up again when it forgot its settings.
func (d *device) restore() error {
	hum := byte(d.opts.Humidity)
	if d.id == chipID {
		var err error
		if hum, err = d.register(regCtrlHum); err != nil {
			return err
		}
	}
	meas, err := d.register(regCtrlMeas)
	if err != nil {
		return err
	}
	want := byte(d.opts.Temperature)<<5 | byte(d.opts.Pressure)<<2
	if hum&7 == byte(d.opts.Humidity) && meas&^3 == want && (!d.continuous() || meas&3 == 3) {
		return nil
	}
	id, err := d.register(regID)
	if err != nil {
		return err
	}
	if id != d.id {
		return fmt.Errorf("%s: id 0x%02x, want 0x%02x: %w", d.handle, id, d.id, drivers.ErrWrongChip)
	}
	return d.setUp()
}

func (d *device) readings(env physic.Env) ([]drivers.Reading, error) {
	out := []drivers.Reading{{Channel: "temperature", Quantity: drivers.Temperature,
		Value: float64(env.Temperature-physic.ZeroCelsius) / float64(physic.Celsius)}}
	if d.opts.Humidity != bmxx80.Off {
		out = append(out, drivers.Reading{Channel: "humidity", Quantity: drivers.Humidity,
			Value: float64(env.Humidity) / float64(100*physic.PercentRH)})
	}
	if d.opts.Pressure != bmxx80.Off {
		out = append(out, drivers.Reading{Channel: "pressure", Quantity: drivers.Pressure,
			Value: float64(env.Pressure) / float64(physic.Pascal)})
	}
	return out, check(out)
}

// limits are what the chips measure: -40 to 85 °C, 300 to 1100 hPa. Half as
// much is left beyond for the tolerance of a cheap one.
var limits = map[drivers.Quantity][2]float64{
	drivers.Temperature: {-60, 105}, drivers.Humidity: {0, 1}, drivers.Pressure: {25000, 120000},
}

// check refuses what no such chip can measure: calibration that was read wrong,
// or a chip that lies (FL-161).
func check(list []drivers.Reading) error {
	for _, r := range list {
		if most := limits[r.Quantity]; !(r.Value >= most[0] && r.Value <= most[1]) {
			return fmt.Errorf("%s %v is outside %v to %v: %w", r.Channel, r.Value, most[0], most[1], drivers.ErrOutOfRange)
		}
	}
	return nil
}

// Close puts the chip to sleep.
func (d *device) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), maxRead)
	defer cancel()
	return d.handle.Do(ctx, func() error {
		err := d.handle.Conn().Tx([]byte{regCtrlMeas, byte(d.opts.Temperature)<<5 | byte(d.opts.Pressure)<<2}, nil)
		if err != nil {
			return fmt.Errorf("%s sleep: %w", d.name, err)
		}
		return nil
	})
}
