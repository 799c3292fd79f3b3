package chip

import (
	"math"
	"time"
)

// bmp180Trim is the trimming of the datasheet's example (BST-BMP180-DS000,
// figure 4): AC1..AC6, B1, B2, MB, MC, MD.
var bmp180Trim = [11]int64{408, -72, -14383, 32741, 32757, 23153, 6190, 4, -32768, -8711, 2868}

// BMP180 is Bosch's older barometer: one conversion at a time, by a write to
// the control register. Raw values are found by inverting the datasheet's
// calculation in whole numbers.
func BMP180(w World) *Registers {
	r := &Registers{Counts: true, Initial: map[byte]uint32{0xd0: 0x55}, Identity: 0xd0, Fixed: []byte{0xd0, 0xf6, 0xf7, 0xf8}}
	for i, v := range bmp180Trim {
		r.Initial[byte(0xaa+2*i)], r.Initial[byte(0xab+2*i)] = uint32(v>>8)&0xff, uint32(v)&0xff
	}
	var running Conversion
	result := uint32(0)
	r.Started = running.Cancel
	r.Wrote = func(reg byte, v uint32) {
		if reg != 0xf4 {
			return
		}
		raw := least(1<<16, w("temperature")*10, func(x int64) int64 { return (bmp180B5(x) + 8) >> 4 })
		if v == 0x2e {
			running.Begin(3 * time.Millisecond)
			result = uint32(raw) << 8
			return
		}
		shift := v >> 6
		running.Begin([4]time.Duration{3, 5, 9, 17}[shift] * time.Millisecond)
		b5 := bmp180B5(raw)
		up := least(1<<(16+shift), w("pressure"), func(x int64) int64 { return bmp180Pascal(x, b5, shift) })
		result = uint32(up) << (8 - shift)
	}
	r.Look = func(reg byte) {
		if running.Take() {
			r.Set(0xf6, result>>16)
			r.Set(0xf7, result>>8&0xff)
			r.Set(0xf8, result&0xff)
		}
	}
	return r.Up()
}

// least finds the smallest raw value below limit whose result is want or more,
// for a result that rises with the raw value.
func least(limit int64, want float64, f func(int64) int64) int64 {
	low, high := int64(0), limit-1
	for low < high {
		if mid := (low + high) / 2; f(mid) < int64(math.Round(want)) {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low
}

func bmp180B5(raw int64) int64 {
	k := bmp180Trim
	x1 := (raw - k[5]) * k[4] >> 15
	if x1+k[10] <= 0 {
		return math.MinInt32 // colder than the formula goes
	}
	return x1 + k[9]<<11/(x1+k[10])
}

func bmp180Pascal(up, b5 int64, shift uint32) int64 {
	k := bmp180Trim
	b6 := b5 - 4000
	x3 := k[7]*(b6*b6>>12)>>11 + k[1]*b6>>11
	b3 := ((k[0]*4+x3)<<shift + 2) / 4
	x3 = (k[2]*b6>>13 + k[6]*(b6*b6>>12)>>16 + 2) >> 2
	b4 := k[3] * (x3 + 32768) >> 15
	p := (up - b3) * (50000 >> shift) * 2 / b4
	x1 := (p >> 8) * (p >> 8) * 3038 >> 16
	return p + (x1+(-7357*p)>>16+3791)>>4
}
