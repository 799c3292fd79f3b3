package chip

import (
	"encoding/binary"
	"time"
)

// BH1750 is Rohm's light sensor: one-byte commands, and a read gives the last
// measurement, acknowledged at any time.
func BH1750(w World) *Commands {
	c := &Commands{}
	var last uint16
	var running Conversion
	begin := func(typical time.Duration) Command {
		return Command{Do: func([]byte) []byte { running.Begin(typical); return nil }}
	}
	c.Started = func() { last = 0; running.Cancel() }
	c.Status = func() []byte {
		if running.Take() {
			last = uint16(Scale(w("illuminance")*1.2, 65535))
		}
		return binary.BigEndian.AppendUint16(nil, last)
	}
	c.Table = map[uint16]Command{
		0x00: {}, 0x01: {}, 0x07: {Do: func([]byte) []byte { last = 0; return nil }},
		0x10: begin(120 * time.Millisecond), 0x20: begin(120 * time.Millisecond), 0x23: begin(16 * time.Millisecond),
	}
	return c
}

// VEML7700 is Vishay's light sensor (datasheet 84286): off after power-up, then
// a count per integration time.
func VEML7700(w World) *Registers {
	r := &Registers{Width: 2, Little: true, Fixed: []byte{4, 5, 7}, Initial: map[byte]uint32{0: 1, 7: 0xc481}, Identity: 7}
	var first Conversion
	r.Started = first.Cancel
	r.Wrote = func(reg byte, v uint32) {
		if reg == 0 && v&1 == 0 {
			first.Begin(2500*time.Microsecond + vemlIntegration(v))
		}
	}
	r.Look = func(reg byte) {
		config := r.Get(0)
		if (reg == 4 || reg == 5) && config&1 == 0 && !first.Running() {
			r.Set(reg, vemlCount(config, w("illuminance")))
		}
	}
	return r.Up()
}

// vemlIntegration reads the integration time out of the configuration.
func vemlIntegration(config uint32) time.Duration {
	switch code := config >> 6 & 15; code {
	case 12:
		return 25 * time.Millisecond
	case 8:
		return 50 * time.Millisecond
	default:
		return 100 * time.Millisecond << min(code, 3)
	}
}

// vemlCount is what the converter makes of light. At low gain the photodiode
// bends: the count is the one that the polynomial of the application note
// straightens to the light there is.
func vemlCount(config uint32, lux float64) uint32 {
	gain := [4]float64{1, 2, 0.125, 0.25}[config>>11&3]
	perCount := 0.0042 * (2 / gain) * (800 / (vemlIntegration(config).Seconds() * 1000))
	if gain >= 1 {
		return Scale(lux/perCount, 65535)
	}
	low, high := 0.0, 200000.0
	for range 60 {
		x := (low + high) / 2
		if straight := x * (1.0023 + x*(8.1488e-5+x*(-9.3924e-9+x*6.0135e-13))); straight < lux {
			low = x
		} else {
			high = x
		}
	}
	return Scale(low/perCount, 65535)
}
