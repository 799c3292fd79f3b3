package humidity

import (
	"math"
	"testing"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/proof"
)

func all() []drivers.Driver {
	return []drivers.Driver{SHT3x(), SHT4x(), HDC302x(), HTU21D(), Si7021(), AHT20()}
}

// climate are points over the range of the sensors.
func climate() (points []map[string]float64) {
	for _, p := range [][2]float64{{21.3, 48.5}, {-39.5, 2}, {-10, 20}, {0, 35}, {60, 80}, {85, 99}, {120, 10}} {
		points = append(points, map[string]float64{"temperature": p[0], "humidity": p[1]})
	}
	return points
}

func TestDrivers_ReadTheWorldAndNameEveryCause(t *testing.T) {
	for _, d := range all() {
		c := proof.Case{Driver: d, Points: climate(), Within: map[string]float64{"temperature": 0.006, "humidity": 0.02}}
		if len(d.Describe().Options) > 0 {
			c.Refused = []map[string]any{{"repeatability": "best"}, {"repeatability": 3}}
		}
		proof.Run(t, c)
	}
}

func TestRepeatability_EveryOneMeasures(t *testing.T) {
	for _, d := range []drivers.Driver{SHT3x(), SHT4x(), HDC302x()} {
		for _, r := range []string{"medium", "low"} {
			proof.Run(t, proof.Case{Driver: d, Options: map[string]any{"repeatability": r}, Points: climate()[:1],
				Within: map[string]float64{"temperature": 0.006, "humidity": 0.02}})
		}
	}
}

// The words are full scale, its middle and its beginning: 0x6666 is 25 °C and
// 0x8000 is 50 % in Sensirion's own examples (SGP40 datasheet, table 10).
func TestSHT3x_TheDatasheetsWordsGiveWhatItPrints(t *testing.T) {
	d, wire := proof.OnWire(t, SHT3x(), nil, []byte{0x80, 0x10, 0xe1}, []byte{0x66, 0x66, 0x93, 0x80, 0x00, 0xa2})
	got := proof.Values(t, d)
	if math.Abs(got["temperature"]-25) > 0.002 || math.Abs(got["humidity"]-0.5) > 0.0001 {
		t.Errorf("got %v, want 25 °C and 50 %%", got)
	}
	if last := wire.Written[len(wire.Written)-1]; string(last) != "\x24\x00" {
		t.Errorf("measured by % x, want 24 00", last)
	}
}

// The HTU21D datasheet prints checksums of two words: 0x683a has 0x7c and
// 0x4e85 has 0x6b. By its formulas they are 24.69 °C and 32.33 %.
func TestHTU21D_TheDatasheetsWordsPassTheirChecksums(t *testing.T) {
	d, _ := proof.OnWire(t, HTU21D(), nil, []byte{0x02}, []byte{0x68, 0x3a, 0x7c}, []byte{0x4e, 0x85, 0x6b})
	got := proof.Values(t, d)
	if math.Abs(got["temperature"]-24.69) > 0.005 || math.Abs(got["humidity"]-0.3233) > 0.0001 {
		t.Errorf("got %v, want 24.69 °C and 32.33 %%", got)
	}
}

func FuzzRead_NoReplyGivesAValueTheChipCannotMeasure(f *testing.F) { proof.Fuzz(f, all()...) }
