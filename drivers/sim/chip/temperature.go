package chip

import "time"

// LM75 is the sensor of nine bits.
func LM75(w World) *Registers {
	r := &Registers{Width: 2, Fixed: []byte{0}}
	r.Look = func(reg byte) {
		if reg == 0 {
			r.Set(0, Signed(w("temperature")*2, 9)<<7)
		}
	}
	r.Identity = 0
	return r.Up()
}

// TMP102 is TI's sensor of twelve bits (datasheet SBOS397).
func TMP102(w World) *Registers {
	r := &Registers{Width: 2, Fixed: []byte{0}, Initial: map[byte]uint32{1: 0x60a0, 2: 0x4b00, 3: 0x5000}, Identity: 1}
	r.Wrote = func(reg byte, v uint32) {
		if reg == 1 {
			r.Set(1, v&0x9fd0|0x6020) // R1 and R0 cannot be written; AL tells no alert
		}
	}
	r.Look = func(reg byte) {
		if reg == 0 {
			r.Set(0, Signed(w("temperature")*16, 12)<<4)
		}
	}
	return r.Up()
}

// TMP117 is TI's sensor of sixteen bits (datasheet SNOSD82): it averages eight
// samples, one second long, and until then has 0x8000.
func TMP117(w World) *Registers {
	r := &Registers{Width: 2, Fixed: []byte{0, 0x0f}, Initial: map[byte]uint32{0: 0x8000, 1: 0x0220, 0x0f: 0x0117}, Identity: 0x0f}
	var first Conversion
	r.Started = func() { first.Begin(time.Second) }
	r.Look = func(reg byte) {
		if reg == 0 && !first.Running() {
			r.Set(0, Signed(w("temperature")*128, 16))
		}
	}
	return r.Up()
}

// MCP9808 is Microchip's sensor (datasheet DS25095); the limits are 0 °C at
// power-up, so the upper two alert bits stand when it is warmer.
func MCP9808(w World) *Registers {
	r := &Registers{Width: 2, Fixed: []byte{5, 6, 7}, Initial: map[byte]uint32{6: 0x0054, 7: 0x0400, 8: 3}, Identity: 6}
	r.Look = func(reg byte) {
		if reg != 5 {
			return
		}
		v := Signed(w("temperature")*16, 13)
		if v&0x1000 == 0 && v > 0 {
			v |= 0xc000
		}
		r.Set(5, v)
	}
	return r.Up()
}
