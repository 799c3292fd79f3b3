package chip

import "time"

// inaRegisters are what INA219, INA226 and INA260 have in common: a
// configuration whose bit 15 resets, and values converted anew all the time.
func inaRegisters(config uint32, first func(config uint32) time.Duration, look func(r *Registers, reg byte)) *Registers {
	r := &Registers{Width: 2, Fixed: []byte{1, 2, 3, 4, 0xfe, 0xff}, Initial: map[byte]uint32{0: config}}
	var running Conversion
	r.Started = func() { running.Begin(first(config)) }
	r.Wrote = func(reg byte, v uint32) {
		if reg != 0 {
			return
		}
		if v&0x8000 != 0 {
			r.Set(0, config)
		}
		running.Begin(first(r.Get(0)))
	}
	r.Look = func(reg byte) {
		if !running.Running() {
			look(r, reg)
		}
	}
	return r
}

// INA219 is TI's meter of 26 V (datasheet SBOS448), on a shunt of 0.1 ohm.
func INA219(w World) *Registers {
	r := inaRegisters(0x399f, func(uint32) time.Duration { return 1064 * time.Microsecond }, func(r *Registers, reg byte) {
		switch reg {
		case 1:
			limit := float64(int(4000) << (r.Get(0) >> 11 & 3)) // PGA /1 to /8: 40 to 320 mV
			r.Set(1, Signed(min(max(w("current")*0.1/10e-6, -limit), limit), 16))
		case 2:
			r.Set(2, Scale(w("voltage")/0.004, 0x1fff)<<3|2)
		}
	})
	r.Wrote = inaKeepsZero(r, r.Wrote)
	r.Identity = 0
	r.Falsify = 0x4000
	return r.Up()
}

// inaKeepsZero clears the bit of the configuration that an INA219 lacks.
func inaKeepsZero(r *Registers, then func(byte, uint32)) func(byte, uint32) {
	return func(reg byte, v uint32) {
		if reg == 0 {
			r.Set(0, v&^0x4000)
		}
		then(reg, v)
	}
}

// inaAverage is the time of shunt and bus, each with its own conversion time,
// with averaging.
func inaAverage(config uint32) time.Duration {
	count := [8]time.Duration{1, 4, 16, 64, 128, 256, 512, 1024}[config>>9&7]
	times := [8]time.Duration{140, 204, 332, 588, 1100, 2116, 4156, 8244}
	return count * (times[config>>6&7] + times[config>>3&7]) * time.Microsecond
}

// INA226 is TI's meter of 36 V (datasheet SBOS547), on a shunt of 2 mΩ.
func INA226(w World) *Registers {
	r := inaRegisters(0x4127, inaAverage, func(r *Registers, reg byte) {
		switch reg {
		case 1:
			r.Set(1, Signed(w("current")*0.002/2.5e-6, 16))
		case 2:
			r.Set(2, Scale(w("voltage")/0.00125, 0x7fff))
		}
	})
	r.Initial[0xfe], r.Initial[0xff], r.Identity = 0x5449, 0x2260, 0xff
	return r.Up()
}

// INA260 is TI's meter with a shunt inside (datasheet SBOS656).
func INA260(w World) *Registers {
	r := inaRegisters(0x6127, inaAverage, func(r *Registers, reg byte) {
		switch reg {
		case 1:
			r.Set(1, Signed(w("current")/0.00125, 16))
		case 2:
			r.Set(2, Scale(w("voltage")/0.00125, 0x7fff))
		case 3:
			r.Set(3, Scale(w("voltage")*w("current")/0.01, 0xffff))
		}
	})
	r.Initial[0xfe], r.Initial[0xff], r.Identity = 0x5449, 0x2270, 0xff
	return r.Up()
}
