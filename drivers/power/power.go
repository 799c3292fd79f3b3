// Package power has the drivers of Texas Instruments' meters of voltage and
// current: INA219, INA226 and INA260.
//
// Current is computed here from the voltage at the shunt. The calibration
// register that the chips offer for it is lost in a brown-out, and then a chip
// reports no current at all; what is not used cannot be lost. A value at the
// end of its scale is an error, because the current may be any larger one.
package power

import (
	"time"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/sheet"
)

// The registers that the three chips share, and the identity of two.
const (
	regConfig = 0x00
	regShunt  = 0x01 // of the INA260: current
	regBus    = 0x02
	regMaker  = 0xfe
	regDie    = 0xff
)

// meter is a sheet with voltage up to volts and current up to amperes.
func meter(name, identify string, volts, amperes float64) sheet.Sheet {
	return sheet.Sheet{
		Info: drivers.Info{
			Name: name, Bus: "i2c", Addresses: sixteen(), Identify: identify, MaxRead: 4 * time.Second,
			Channels: []drivers.Channel{
				{Name: "voltage", Quantity: drivers.Voltage, Unit: "V", Decimals: 3, Class: drivers.Measurement},
				{Name: "current", Quantity: drivers.Current, Unit: "A", Decimals: 4, Class: drivers.Measurement},
				{Name: "power", Quantity: drivers.Power, Unit: "W", Decimals: 3, Class: drivers.Measurement},
			},
		},
		Spans: []sheet.Span{{Min: 0, Max: volts}, {Min: -amperes, Max: amperes}, {Min: -volts * amperes, Max: volts * amperes}},
	}
}

func sixteen() (list []uint16) {
	for a := range uint16(16) {
		list = append(list, 0x40+a)
	}
	return list
}

// shuntMin is the smallest shunt that makes sense, in ohms.
const shuntMin = 0.0001

func shunt(usual float64) drivers.Option {
	return drivers.Option{Name: "shunt", Kind: drivers.Number, Default: usual, Min: shuntMin, Max: 100, Doc: "the shunt's resistance in ohms"}
}

// averages are the numbers of samples by their code in the configuration.
var averages = map[int64]uint16{1: 0, 4: 1, 16: 2, 64: 3, 128: 4, 256: 5, 512: 6, 1024: 7}

func average() drivers.Option {
	return drivers.Option{Name: "average", Kind: drivers.Integer, Default: int64(1), Doc: "samples taken for one value",
		Allowed: []any{int64(1), int64(4), int64(16), int64(64), int64(128), int64(256), int64(512), int64(1024)}}
}

// configured writes a configuration and notices when it is gone. The word is
// never that of power-up, or a loss would not show.
func configured(s *sheet.Sheet, word func(drivers.Options) uint16, first func(drivers.Options) time.Duration) {
	s.SetUp = func(c *sheet.Chip) error {
		if err := c.SetWord(regConfig, word(c.Options)); err != nil {
			return err
		}
		return c.Wait(first(c.Options))
	}
	s.Lost = func(c *sheet.Chip) (bool, error) {
		got, err := c.Word(regConfig)
		return got != word(c.Options), err
	}
}

// made asks for TI's mark and the die's number.
func made(die uint16) func(*sheet.Chip) error {
	return func(c *sheet.Chip) error {
		if err := c.Is(regMaker, 0xffff, 0x5449); err != nil {
			return err
		}
		return c.Is(regDie, 0xfff0, die)
	}
}

// pair reads the registers of current and of bus voltage.
func pair(c *sheet.Chip) (current int16, bus uint16, err error) {
	first, err := c.Word(regShunt)
	if err != nil {
		return 0, 0, err
	}
	bus, err = c.Word(regBus)
	return int16(first), bus, err
}

func values(volts, amperes float64) []float64 { return []float64{volts, amperes, volts * amperes} }

// INA219 measures up to 26 V and ±320 mV at the shunt (datasheet SBOS448). It
// has no identity; a bit of its configuration is always 0, and 1 in its
// relatives. It keeps the configuration of power-up, 32 V and 12 bits all the
// time; that no conversion has ended yet shows in the bus register.
func INA219() drivers.Driver {
	s := meter("ina219", "bit 14 of register 0 is 0", 32, 0.32/shuntMin)
	s.Info.Options = []drivers.Option{shunt(0.1)}
	s.Identify, s.Unsure = func(c *sheet.Chip) error { return c.Is(regConfig, 0x4000, 0) }, true
	configured(&s, func(drivers.Options) uint16 { return 0x399f }, func(drivers.Options) time.Duration { return 2 * time.Millisecond })
	s.Lost = func(c *sheet.Chip) (bool, error) {
		config, err := c.Word(regConfig)
		if err != nil || config != 0x399f {
			return err == nil, err
		}
		bus, err := c.Word(regBus)
		return bus&2 == 0, err
	}
	s.Sample = func(c *sheet.Chip) ([]float64, error) {
		raw, bus, err := pair(c)
		if err != nil {
			return nil, err
		}
		if raw >= 32000 || raw <= -32000 {
			return nil, sheet.Full("current", "take a smaller shunt")
		}
		return values(float64(bus>>3)*0.004, float64(raw)*10e-6/c.Options.Float("shunt")), nil
	}
	return s
}

// twoConversions is how long the shunt takes at 2.116 ms and the bus at 1.1 ms,
// with a tenth more for the slowest clock.
func twoConversions(o drivers.Options) time.Duration {
	return time.Duration(o.Int("average"))*3540*time.Microsecond + time.Millisecond
}

// INA226 measures up to 36 V and ±81.92 mV at the shunt (datasheet SBOS547).
func INA226() drivers.Driver {
	s := meter("ina226", "register 0xfe reads 0x5449 and 0xff 0x226x", 40.96, 0.08192/shuntMin)
	s.Info.Options = []drivers.Option{shunt(0.1), average()}
	s.Identify = made(0x2260)
	configured(&s, func(o drivers.Options) uint16 { return 0x412f | averages[o.Int("average")]<<9 }, twoConversions)
	s.Sample = func(c *sheet.Chip) ([]float64, error) {
		raw, bus, err := pair(c)
		if err != nil {
			return nil, err
		}
		if raw == 0x7fff || raw == -0x8000 {
			return nil, sheet.Full("current", "take a smaller shunt")
		}
		return values(float64(bus&0x7fff)*0.00125, float64(raw)*2.5e-6/c.Options.Float("shunt")), nil
	}
	return s
}

// INA260 has its shunt inside: 1.25 mA and 1.25 mV a step (datasheet SBOS656).
func INA260() drivers.Driver {
	s := meter("ina260", "register 0xfe reads 0x5449 and 0xff 0x227x", 40.96, 40.96)
	s.Info.Options = []drivers.Option{average()}
	s.Identify = made(0x2270)
	configured(&s, func(o drivers.Options) uint16 { return 0x612f | averages[o.Int("average")]<<9 }, twoConversions)
	s.Sample = func(c *sheet.Chip) ([]float64, error) {
		raw, bus, err := pair(c)
		if err != nil {
			return nil, err
		}
		if raw == 0x7fff || raw == -0x8000 {
			return nil, sheet.Full("current", "15 A is what the chip carries")
		}
		return values(float64(bus&0x7fff)*0.00125, float64(raw)*0.00125), nil
	}
	return s
}
