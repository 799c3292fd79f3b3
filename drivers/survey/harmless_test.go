package survey

import (
	"maps"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/bme280"
	"github.com/tidehold/tidehold/drivers/gas"
	"github.com/tidehold/tidehold/drivers/humidity"
	"github.com/tidehold/tidehold/drivers/light"
	"github.com/tidehold/tidehold/drivers/power"
	"github.com/tidehold/tidehold/drivers/sim"
	"github.com/tidehold/tidehold/drivers/sim/chip"
	"github.com/tidehold/tidehold/drivers/temperature"
	"github.com/tidehold/tidehold/drivers/voltage"
)

// shipped is a table of all drivers of chips on I2C.
type shipped map[string]drivers.Driver

func (s shipped) Driver(name string) (drivers.Driver, bool) { d, ok := s[name]; return d, ok }
func (s shipped) Names() []string                           { return slices.Sorted(maps.Keys(s)) }

func all() shipped {
	table := shipped{}
	for _, d := range []drivers.Driver{
		bme280.Driver{}, bme280.BMP280(), bme280.BMP180(), gas.SCD4x(), gas.SGP40(), light.BH1750(), light.VEML7700(),
		humidity.SHT3x(), humidity.SHT4x(), humidity.HDC302x(), humidity.HTU21D(), humidity.Si7021(), humidity.AHT20(),
		power.INA219(), power.INA226(), power.INA260(), voltage.ADS1115(), voltage.ADS1015(),
		temperature.LM75(), temperature.TMP102(), temperature.TMP117(), temperature.MCP9808(),
	} {
		table[d.Describe().Name] = d
	}
	return table
}

// Goal: whoever looks what is on a bus never moves a relay. Method: expanders
// where they can sit, with outputs set; every driver looks for its chip.
func TestIdentify_MovesNoPinOfAnExpander(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := sim.NewBus("main", 1)
		ports := map[uint16]*chip.PCF8574{}
		for _, first := range []uint16{0x20, 0x38} { // PCF8574 and PCF8574A
			for addr := first; addr < first+8; addr++ {
				ports[addr] = chip.NewPCF8574()
				if err := b.Attach(addr, ports[addr]); err != nil {
					t.Fatal(err)
				}
				if err := b.Tx(t.Context(), addr, []byte{0x5a}, nil); err != nil {
					t.Fatal(err)
				}
			}
		}
		pwm := chip.PCA9685()
		if err := b.Attach(0x40, pwm); err != nil {
			t.Fatal(err)
		}
		before, after := make([]byte, 256), make([]byte, 256)
		if err := b.Tx(t.Context(), 0x40, []byte{0}, before); err != nil {
			t.Fatal(err)
		}
		found, err := Scan(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range Identify(t.Context(), b, found, all()) {
			if f.Chip != "" {
				t.Errorf("%s is taken for a %s", f.Address, f.Chip)
			}
		}
		for addr, p := range ports {
			if p.Pins() != 0x5a {
				t.Errorf("0x%02x: pins %08b, want %08b", addr, p.Pins(), 0x5a)
			}
		}
		if err := b.Tx(t.Context(), 0x40, []byte{0}, after); err != nil || !slices.Equal(before, after) {
			t.Errorf("the PCA9685 had % x, has % x (%v)", before, after, err)
		}
	})
}

// Goal: a chip that has an identity is found as itself, beside all drivers that
// share its address.
func TestIdentify_EachDistinctChipIsItself(t *testing.T) {
	for name, d := range all() {
		if r, ok := d.(drivers.Recognizer); !ok || !r.Distinct() {
			continue
		}
		synctest.Test(t, func(t *testing.T) {
			w := sim.NewWorld()
			b, err := w.AddBus(drivers.BusConfig{Name: "b", Type: "sim"})
			if err != nil {
				t.Fatal(err)
			}
			if err := w.AddSensor(drivers.SensorConfig{Name: name, Driver: name, Bus: "b"}, d.Describe()); err != nil {
				t.Fatal(err)
			}
			found := Identify(t.Context(), b, nil, all())
			if len(found) != 1 || found[0].Chip != name {
				t.Errorf("%s: found %+v", name, found)
			}
		})
	}
}
