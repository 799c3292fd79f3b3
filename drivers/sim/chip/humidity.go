package chip

import (
	"encoding/binary"
	"time"
)

// celsius codes a temperature as Sensirion and TI do: -45 + 175·r/65535.
func celsius(w World) uint16 { return uint16(Scale((w("temperature")+45)/175*65535, 65535)) }

// single answers a single shot of Sensirion's and TI's chips of 16-bit commands.
func single(w World) func([]byte) []byte {
	return func([]byte) []byte { return Words(0xff, celsius(w), uint16(Scale(w("humidity")*65535, 65535))) }
}

// SHT3x is Sensirion's SHT31 (datasheet SHT3x-DIS): commands of 16 bits, no
// acknowledgement while it measures.
func SHT3x(w World) *Commands {
	measure := single(w)
	return &Commands{Width: 2, Table: map[uint16]Command{
		0x2400: {Takes: 12500 * time.Microsecond, Do: measure},
		0x240b: {Takes: 4500 * time.Microsecond, Do: measure},
		0x2416: {Takes: 2500 * time.Microsecond, Do: measure},
		0xf32d: {Identity: true, Do: func([]byte) []byte { return Words(0xff, 0x8010) }},
		0x3041: {}, 0x3093: {Takes: time.Millisecond}, 0x30a2: {Takes: time.Millisecond},
	}}
}

// HDC302x is TI's HDC3022 (datasheet SNAS778).
func HDC302x(w World) *Commands {
	measure := single(w)
	return &Commands{Width: 2, Table: map[uint16]Command{
		0x2400: {Takes: 12500 * time.Microsecond, Do: measure},
		0x240b: {Takes: 7500 * time.Microsecond, Do: measure},
		0x2416: {Takes: 5 * time.Millisecond, Do: measure},
		0x3781: {Identity: true, Do: func([]byte) []byte { return Words(0xff, 0x3000) }},
		0x3093: {}, 0x30a2: {Takes: 3 * time.Millisecond},
	}}
}

// SHT4x is Sensirion's SHT40 (datasheet SHT4x): commands of one byte.
func SHT4x(w World) *Commands {
	measure := func([]byte) []byte {
		return Words(0xff, celsius(w), uint16(Scale((w("humidity")+0.06)/1.25*65535, 65535)))
	}
	return &Commands{Table: map[uint16]Command{
		0xfd: {Takes: 6900 * time.Microsecond, Do: measure},
		0xf6: {Takes: 3700 * time.Microsecond, Do: measure},
		0xe0: {Takes: 1300 * time.Microsecond, Do: measure},
		0x89: {Identity: true, Do: func([]byte) []byte { return Words(0xff, 0x0f1e, 0x2d3c) }},
		0x94: {Takes: time.Millisecond},
	}}
}

// HTU21D is TE's sensor: two measurements, a checksum that starts with 0, and
// status bits in the low end of a word.
func HTU21D(w World) *Commands {
	c := twoShots(w)
	c.Table[0xe7] = Command{Identity: true, Do: func([]byte) []byte { return []byte{0x02} }}
	return c
}

// Si7021 is Silicon Labs' sensor, with an electronic id.
func Si7021(w World) *Commands {
	c := twoShots(w)
	c.Table[0xe7] = Command{Identity: true, Do: func([]byte) []byte { return []byte{0x3a} }}
	c.Table[0xfc] = Command{Do: func([]byte) []byte { return Words(0, 0x15ff, 0xffff) }}
	return c
}

func twoShots(w World) *Commands {
	return &Commands{Table: map[uint16]Command{
		0xf3: {Takes: 44 * time.Millisecond, Do: func([]byte) []byte {
			return Words(0, uint16(Scale((w("temperature")+46.85)/175.72*65536/4, 0x3fff))<<2)
		}},
		0xf5: {Takes: 14 * time.Millisecond, Do: func([]byte) []byte {
			return Words(0, uint16(Scale((w("humidity")+0.06)/1.25*65536/16, 0xfff))<<4|2)
		}},
		0xfe: {Takes: 15 * time.Millisecond},
	}}
}

// AHT20 is Aosong's sensor: it answers with its status while it measures, and
// has to be told to load its calibration after power-up.
func AHT20(w World) *Commands {
	c := &Commands{}
	status := byte(0x10)
	c.Started = func() { status = 0x10 }
	c.Status = func() []byte {
		if c.busy.Running() {
			return []byte{status | 0x80}
		}
		return []byte{status}
	}
	c.Table = map[uint16]Command{
		0x71: {Do: func([]byte) []byte { return []byte{status} }},
		0xbe: {Takes: 10 * time.Millisecond, Do: func([]byte) []byte { status |= 0x08; return nil }},
		0xba: {Takes: 20 * time.Millisecond},
		0xac: {Takes: 80 * time.Millisecond, Identity: true, Do: func([]byte) []byte {
			h, t := uint32(1<<19), uint32(1<<19) // without calibration: the middle
			if status&0x08 != 0 {
				h, t = Scale(w("humidity")*(1<<20), 1<<20-1), Scale((w("temperature")+50)/200*(1<<20), 1<<20-1)
			}
			b := binary.BigEndian.AppendUint64(nil, uint64(status)<<40|uint64(h)<<20|uint64(t))[2:]
			return append(b, crc8(0xff, b...))
		}},
	}
	return c
}
