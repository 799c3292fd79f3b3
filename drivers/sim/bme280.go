package sim

import (
	"math"
	"sync"
	"time"
)

// The registers of the BME280 (datasheet BST-BME280-DS002, section 5.3).
const (
	bmeCalibA   = 0x88 // T1..T3, P1..P9
	bmeCalibH1  = 0xa1
	bmeID       = 0xd0
	bmeReset    = 0xe0
	bmeCalibB   = 0xe1 // H2..H6
	bmeCtrlHum  = 0xf2
	bmeStatus   = 0xf3
	bmeCtrlMeas = 0xf4
	bmeConfig   = 0xf5
	bmePress    = 0xf7
	bmeTemp     = 0xfa
	bmeHum      = 0xfd

	bmeChipID    = 0x60
	bmpChipID    = 0x58
	bmeResetWord = 0xb6
	bmeMeasuring = 0x08 // bit 3 of status
	bmeForced    = 1
	bmeNormal    = 3
)

// bmeStandby are the pauses of normal mode by t_sb (table 27).
var bmeStandby = [8]time.Duration{500 * time.Microsecond, 62500 * time.Microsecond, 125 * time.Millisecond,
	250 * time.Millisecond, 500 * time.Millisecond, time.Second, 10 * time.Millisecond, 20 * time.Millisecond}

// BME280 is Bosch's temperature, humidity and pressure sensor at register
// level. What it measures comes from the world: a function that gives °C, 0..1
// and Pa by quantity. The raw converter values are found by inverting the
// compensation formulas of the datasheet, so a correct driver computes what
// the world says, within the resolution that the oversampling allows.
type BME280 struct {
	world func(quantity string) float64
	cal   bmeCalibration
	id    byte
	dry   bool // a BMP280: no humidity

	mu      sync.Mutex
	reg     [256]byte
	pointer byte
	wrongID bool
	// osrsH is what ctrl_hum had when ctrl_meas was last written: it takes
	// effect only then (section 5.4.3).
	osrsH  byte
	doneAt time.Time // end of the running conversion, zero: none
	filter [2]float64
	primed bool // the filter has a first value
}

// NewBME280 powers the chip up.
func NewBME280(world func(quantity string) float64) *BME280 {
	c := &BME280{world: world, cal: bmeTypical, id: bmeChipID}
	c.powerUp()
	return c
}

// NewBMP280 powers up the chip without humidity (datasheet BST-BMP280-DS001):
// its registers are the same but for those of humidity, which it lacks.
func NewBMP280(world func(quantity string) float64) *BME280 {
	c := &BME280{world: world, cal: bmeTypical, id: bmpChipID, dry: true}
	c.powerUp()
	return c
}

func (c *BME280) powerUp() {
	c.reg = [256]byte{}
	c.reg[bmeID] = c.id
	if c.wrongID {
		c.reg[bmeID] = 0x55 // a BMP180's
	}
	c.cal.store(&c.reg)
	c.put20(bmePress, 0x80000)
	c.put20(bmeTemp, 0x80000)
	if !c.dry {
		c.reg[bmeHum] = 0x80
	}
	c.osrsH, c.doneAt, c.primed = 0, time.Time{}, false
}

// PowerLoss puts the registers back to reset.
func (c *BME280) PowerLoss() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.powerUp()
}

// WrongID makes the chip tell another identity.
func (c *BME280) WrongID(wrong bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wrongID = wrong
	c.reg[bmeID] = c.id
	if wrong {
		c.reg[bmeID] = 0x55
	}
}

// Write takes a register address, and after it pairs of values and further
// register addresses: the chip does not count up when written (section 6.2.1).
func (c *BME280) Write(b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settle(time.Now())
	if len(b) == 1 {
		c.pointer = b[0]
		return nil
	}
	for i := 0; i+1 < len(b); i += 2 {
		c.set(b[i], b[i+1])
	}
	return nil
}

// Read gives registers from the pointer on, counting up.
func (c *BME280) Read(b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settle(time.Now())
	for i := range b {
		b[i] = c.reg[c.pointer]
		c.pointer++
	}
	return nil
}

func (c *BME280) set(reg, v byte) {
	switch reg {
	case bmeReset:
		if v == bmeResetWord {
			c.powerUp()
		}
	case bmeCtrlHum:
		if !c.dry {
			c.reg[reg] = v & 7
		}
	case bmeConfig:
		if c.mode() != bmeNormal { // writes in normal mode may be ignored (5.4.6)
			c.reg[reg] = v &^ 2
		}
	case bmeCtrlMeas:
		if v&3 == 2 { // 10 means forced as well
			v = v&^3 | bmeForced
		}
		c.reg[reg], c.osrsH = v, c.reg[bmeCtrlHum]&7
		c.begin(time.Now())
	}
}

func (c *BME280) mode() byte { return c.reg[bmeCtrlMeas] & 3 }

func (c *BME280) begin(now time.Time) {
	c.doneAt = time.Time{}
	if c.mode() != 0 {
		c.doneAt = now.Add(c.conversion())
	}
}

// conversion is the typical measuring time (section 9.1).
func (c *BME280) conversion() time.Duration {
	t, p, h := osrs(c.reg[bmeCtrlMeas]>>5), osrs(c.reg[bmeCtrlMeas]>>2), osrs(c.osrsH)
	d := time.Millisecond + time.Duration(t)*2*time.Millisecond
	for _, n := range []int{p, h} {
		if n > 0 {
			d += time.Duration(n)*2*time.Millisecond + 500*time.Microsecond
		}
	}
	return d
}

// osrs gives the samples of an oversampling field: 0, 1, 2, 4, 8, 16.
func osrs(field byte) int {
	field &= 7
	if field == 0 {
		return 0
	}
	return 1 << (min(field, 5) - 1)
}

// settle brings the registers up to now: conversions that ended are stored,
// normal mode goes on.
func (c *BME280) settle(now time.Time) {
	c.reg[bmeStatus] = 0
	if !c.doneAt.IsZero() && !now.Before(c.doneAt) {
		c.store()
		c.next(now)
	}
	if !c.doneAt.IsZero() && !now.Before(c.doneAt.Add(-c.conversion())) {
		c.reg[bmeStatus] = bmeMeasuring
	}
}

// next ends forced mode, and plans the next conversion of normal mode.
func (c *BME280) next(now time.Time) {
	if c.mode() == bmeForced {
		c.reg[bmeCtrlMeas] &^= 3
		c.doneAt = time.Time{}
		return
	}
	cycle := c.conversion() + bmeStandby[c.reg[bmeConfig]>>5]
	c.doneAt = c.doneAt.Add((now.Sub(c.doneAt)/cycle + 1) * cycle)
}

// store converts the world into the data registers.
func (c *BME280) store() {
	adcT := c.cal.invertTemperature(c.world("temperature"))
	fine := c.cal.fine(adcT)
	adcP := c.cal.invertPressure(c.world("pressure"), fine)
	adcH := c.cal.invertHumidity(c.world("humidity")*100, fine)
	osT, osP := osrs(c.reg[bmeCtrlMeas]>>5), osrs(c.reg[bmeCtrlMeas]>>2)
	c.put20(bmeTemp, c.sample(0, adcT, osT))
	c.put20(bmePress, c.sample(1, adcP, osP))
	c.primed = true
	if c.dry {
		return
	}
	if osrs(c.osrsH) == 0 {
		adcH = 0x8000
	}
	c.reg[bmeHum], c.reg[bmeHum+1] = byte(adcH>>8), byte(adcH)
}

// sample applies the IIR filter and the resolution to a raw value. Skipped
// channels read 0x80000; without filter the resolution is 16 bits plus one for
// each doubling of the samples, with it always 20 (sections 3.4.1 to 3.4.4).
func (c *BME280) sample(channel int, adc int32, samples int) int32 {
	if samples == 0 {
		return 0x80000
	}
	strength := c.reg[bmeConfig] >> 2 & 7
	if strength == 0 {
		bits := 16 + int(math.Log2(float64(samples)))
		return adc &^ (1<<(20-bits) - 1)
	}
	coefficient := float64(int(1) << min(strength, 4))
	if !c.primed {
		c.filter[channel] = float64(adc)
	}
	c.filter[channel] += (float64(adc) - c.filter[channel]) / coefficient
	return int32(math.Round(c.filter[channel]))
}

func (c *BME280) put20(reg byte, v int32) {
	c.reg[reg], c.reg[reg+1], c.reg[reg+2] = byte(v>>12), byte(v>>4), byte(v<<4)
}

// bmeCalibration is the trimming a factory burns into one chip.
type bmeCalibration struct {
	t1     uint16
	t2, t3 int16
	p1     uint16
	p      [8]int16 // P2..P9
	h1     uint8
	h2     int16
	h3     uint8
	h4, h5 int16 // 12 bits
	h6     int8
}

// bmeTypical has the datasheet's example for temperature and pressure (BMP280
// datasheet, section 8.1) and usual trimming for humidity.
var bmeTypical = bmeCalibration{
	t1: 27504, t2: 26435, t3: -1000,
	p1: 36477, p: [8]int16{-10685, 3024, 2855, 140, -7, 15500, -14600, 6000},
	h1: 75, h2: 362, h3: 0, h4: 313, h5: 50, h6: 30,
}

// store writes the trimming into its registers (table 16).
func (k bmeCalibration) store(reg *[256]byte) {
	at := byte(bmeCalibA)
	word := func(v uint16) {
		reg[at], reg[at+1] = byte(v), byte(v>>8)
		at += 2
	}
	word(k.t1)
	word(uint16(k.t2))
	word(uint16(k.t3))
	word(k.p1)
	for _, v := range k.p {
		word(uint16(v))
	}
	reg[bmeCalibH1] = k.h1
	at = bmeCalibB
	word(uint16(k.h2))
	reg[0xe3] = k.h3
	reg[0xe4] = byte(k.h4 >> 4)
	reg[0xe5] = byte(k.h4&15) | byte(k.h5&15)<<4
	reg[0xe6] = byte(k.h5 >> 4)
	reg[0xe7] = byte(k.h6)
}

// fine is t_fine of the compensation in double precision (section 8.1);
// t_fine/5120 is °C.
func (k bmeCalibration) fine(adc int32) float64 {
	a := float64(adc)
	v1 := (a/16384 - float64(k.t1)/1024) * float64(k.t2)
	d := a/131072 - float64(k.t1)/8192
	return v1 + d*d*float64(k.t3)
}

// pressure is Pa.
func (k bmeCalibration) pressure(adc int32, fine float64) float64 {
	v1 := fine/2 - 64000
	v2 := v1 * v1 * float64(k.p[4]) / 32768
	v2 += v1 * float64(k.p[3]) * 2
	v2 = v2/4 + float64(k.p[2])*65536
	v1 = (float64(k.p[1])*v1*v1/524288 + float64(k.p[0])*v1) / 524288
	v1 = (1 + v1/32768) * float64(k.p1)
	p := (1048576 - float64(adc) - v2/4096) * 6250 / v1
	v1 = float64(k.p[7]) * p * p / 2147483648
	v2 = p * float64(k.p[6]) / 32768
	return p + (v1+v2+float64(k.p[5]))/16
}

// humidity is %RH, not limited to 0..100.
func (k bmeCalibration) humidity(adc int32, fine float64) float64 {
	x := fine - 76800
	x = (float64(adc) - (float64(k.h4)*64 + float64(k.h5)/16384*x)) *
		(float64(k.h2) / 65536 * (1 + float64(k.h6)/67108864*x*(1+float64(k.h3)/67108864*x)))
	return x * (1 - float64(k.h1)*x/524288)
}

func (k bmeCalibration) invertTemperature(celsius float64) int32 {
	return invert(20, celsius, func(a int32) float64 { return k.fine(a) / 5120 })
}

func (k bmeCalibration) invertPressure(pascal, fine float64) int32 {
	return invert(20, pascal, func(a int32) float64 { return k.pressure(a, fine) })
}

func (k bmeCalibration) invertHumidity(percent, fine float64) int32 {
	return invert(16, percent, func(a int32) float64 { return k.humidity(a, fine) })
}

// invert finds the raw value of n bits whose compensated value is nearest to
// want, for a monotonic f. Beyond the ends it is the end.
func invert(bits uint, want float64, f func(int32) float64) int32 {
	low, high := int32(0), int32(1)<<bits-1
	rising := f(high) > f(low)
	for low < high {
		mid := low + (high-low)/2
		if f(mid) < want == rising {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low > 0 && math.Abs(f(low-1)-want) < math.Abs(f(low)-want) {
		return low - 1
	}
	return low
}
