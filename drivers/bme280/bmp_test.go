package bme280

import (
	"math"
	"testing"
	"testing/synctest"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/proof"
)

func air(pairs ...[2]float64) (points []map[string]float64) {
	for _, p := range pairs {
		points = append(points, map[string]float64{"temperature": p[0], "pressure": p[1]})
	}
	return points
}

func TestBMP280_ReadsTheWorldAndNamesEveryCause(t *testing.T) {
	proof.Run(t, proof.Case{Driver: BMP280(), Options: map[string]any{"oversampling": map[string]any{"temperature": 16, "pressure": 16}}, Unchecked: true,
		Points: air([2]float64{21.37, 1013.25}, [2]float64{-39, 400}, [2]float64{84, 1099}), Within: map[string]float64{"temperature": 0.011, "pressure": 0.06},
		Refused: []map[string]any{{"oversampling": map[string]any{"humidity": 1}}, {"iir": 3}}})
}

func TestBMP180_ReadsTheWorldAndNamesEveryCause(t *testing.T) {
	for _, samples := range []int{1, 8} {
		proof.Run(t, proof.Case{Driver: BMP180(), Options: map[string]any{"oversampling": samples}, Unchecked: true,
			Points: air([2]float64{21.4, 1013.25}, [2]float64{-20, 700}, [2]float64{0, 310}, [2]float64{64.5, 1099}), Within: map[string]float64{"temperature": 0.06, "pressure": 0.1},
			Refused: []map[string]any{{"oversampling": 16}}})
	}
}

// The vector is the datasheet's (BST-BMP180-DS000, figure 4): UT 27898 and UP
// 23843 are 15.0 °C and 69964 Pa, by integers that round; without rounding
// 69963 to 69965.
func TestBMP180_TheDatasheetsExampleIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		trim := []byte{}
		for _, v := range []int{408, -72, -14383, 32741, 32757, 23153, 6190, 4, -32768, -8711, 2868} {
			trim = append(trim, byte(v>>8), byte(v))
		}
		d, _ := proof.OnWire(t, BMP180(), nil, []byte{0x55}, trim, []byte{27898 >> 8, 27898 & 0xff}, []byte{23843 >> 8, 23843 & 0xff, 0})
		got := proof.Values(t, d)
		if math.Abs(got["temperature"]-15) > 0.05 || math.Abs(got["pressure"]-69964) > 3 {
			t.Errorf("got %v, want 15.0 °C and 69964 Pa", got)
		}
	})
}

// Section 3.4: a word of the trimming that is 0 or 0xffff was read wrong.
func TestBMP180_TrimmingThatWasReadWrongGivesNoValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := make([]byte, 22)
		d, wire := proof.OnWire(t, BMP180(), nil, []byte{0x55}, bad, bad, bad)
		if list, err := d.Read(t.Context()); drivers.CauseOf(err) != drivers.CauseCRC || len(wire.Answers) != 0 {
			t.Errorf("got %v, %v with %d answers left; want a checksum error after three tries", list, err, len(wire.Answers))
		}
	})
}

func FuzzBMP_NoReplyGivesAValueTheChipCannotMeasure(f *testing.F) { proof.Fuzz(f, BMP180(), BMP280()) }
