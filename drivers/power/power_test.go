package power

import (
	"math"
	"testing"
	"testing/synctest"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/proof"
)

func all() []drivers.Driver { return []drivers.Driver{INA219(), INA226(), INA260()} }

// loads are pairs of volts and amperes; power follows from them.
func loads(pairs ...[2]float64) (points []map[string]float64) {
	for _, p := range pairs {
		points = append(points, map[string]float64{"voltage": p[0], "current": p[1], "power": p[0] * p[1]})
	}
	return points
}

func TestDrivers_ReadTheWorldAndNameEveryCause(t *testing.T) {
	proof.Run(t, proof.Case{Driver: INA219(), Unchecked: true, Points: loads([2]float64{12, 1.5}, [2]float64{0, 0}, [2]float64{26, -3.1}, [2]float64{5.02, 0.0421}),
		Within: map[string]float64{"voltage": 0.002, "current": 0.0001, "power": 0.01}, Refused: []map[string]any{{"shunt": 0}, {"shunt": "0R1"}}})
	proof.Run(t, proof.Case{Driver: INA226(), Unchecked: true, Options: map[string]any{"shunt": 0.002, "average": 16}, Points: loads([2]float64{12, 15}, [2]float64{36, -40}, [2]float64{1.25, 0.5}),
		Within: map[string]float64{"voltage": 0.001, "current": 0.0007, "power": 0.05}, Refused: []map[string]any{{"average": 3}, {"shunt": -1}}})
	proof.Run(t, proof.Case{Driver: INA260(), Unchecked: true, Options: map[string]any{"average": 1024}, Points: loads([2]float64{12, 15}, [2]float64{36, -14.9}, [2]float64{3.3, 0.00125}),
		Within: map[string]float64{"voltage": 0.001, "current": 0.0007, "power": 0.03}, Refused: []map[string]any{{"shunt": 0.1}}})
}

// The words are those of the datasheets' worked examples: INA219 (SBOS448,
// figure 27) 20 mV at 2 mΩ and 11.98 V; INA226 (SBOS547, section 7.5) 20 mV at
// 2 mΩ and 11.98 V.
func TestDrivers_TheDatasheetsExampleGives10AmperesAt12Volts(t *testing.T) {
	for _, c := range []struct {
		driver  drivers.Driver
		answers [][]byte
	}{
		{INA219(), [][]byte{{0x39, 0x9f}, {0x39, 0x9f}, {0, 2}, {0x07, 0xd0}, {0x5d, 0x98}}},
		{INA226(), [][]byte{{0x54, 0x49}, {0x22, 0x60}, {0x41, 0x2f}, {0x1f, 0x40}, {0x25, 0x70}}},
	} {
		synctest.Test(t, func(t *testing.T) {
			d, _ := proof.OnWire(t, c.driver, map[string]any{"shunt": 0.002}, c.answers...)
			got := proof.Values(t, d)
			if math.Abs(got["voltage"]-11.98) > 0.001 || math.Abs(got["current"]-10) > 1e-9 || math.Abs(got["power"]-119.8) > 0.01 {
				t.Errorf("%s: got %v, want 11.98 V, 10 A, 119.8 W", c.driver.Describe().Name, got)
			}
		})
	}
}

// Goal: a current beyond the scale is never told as the scale's end. Method:
// the raw value at the end of each chip's range.
func TestDrivers_ACurrentAtTheEndOfItsScaleIsNoValue(t *testing.T) {
	for _, c := range []struct {
		driver drivers.Driver
		ready  [2]byte // the last answer of the look for lost settings
		ids    [][]byte
		end    []byte
	}{
		{INA219(), [2]byte{0, 2}, [][]byte{{0x39, 0x9f}, {0x39, 0x9f}}, []byte{0x7d, 0x00}},
		{INA226(), [2]byte{0x41, 0x2f}, [][]byte{{0x54, 0x49}, {0x22, 0x60}}, []byte{0x80, 0x00}},
		{INA260(), [2]byte{0x61, 0x2f}, [][]byte{{0x54, 0x49}, {0x22, 0x70}}, []byte{0x7f, 0xff}},
	} {
		synctest.Test(t, func(t *testing.T) {
			d, _ := proof.OnWire(t, c.driver, nil, append(c.ids, c.ready[:], c.end, []byte{0x25, 0x70})...)
			if list, err := d.Read(t.Context()); drivers.CauseOf(err) != drivers.CauseOutOfRange {
				t.Errorf("%s: got %v, %v; want out of range", c.driver.Describe().Name, list, err)
			}
		})
	}
}

func FuzzRead_NoReplyGivesAValueTheChipCannotMeasure(f *testing.F) { proof.Fuzz(f, all()...) }
