package gas

import (
	"bytes"
	"math"
	"testing"
	"testing/synctest"

	"github.com/tidehold/tidehold/drivers/proof"
)

func TestSCD4x_ReadsTheWorldAndNamesEveryCause(t *testing.T) {
	proof.Run(t, proof.Case{
		Driver: SCD4x(), Restarts: true,
		Points: []map[string]float64{
			{"co2": 500, "temperature": 25, "humidity": 37}, {"co2": 400, "temperature": -9.5, "humidity": 5},
			{"co2": 2000, "temperature": 40, "humidity": 95}, {"co2": 39000, "temperature": 59, "humidity": 99},
		},
		Within:  map[string]float64{"co2": 0.5, "temperature": 0.006, "humidity": 0.01},
		Refused: []map[string]any{{"altitude": 9000}, {"altitude": "high"}, {"self_calibration": "maybe"}},
	})
}

func TestSGP40_ReadsTheWorldAndNamesEveryCause(t *testing.T) {
	proof.Run(t, proof.Case{
		Driver: SGP40(), Points: []map[string]float64{{"raw": 30000}, {"raw": 20001}, {"raw": 52000}},
		Within: map[string]float64{"raw": 0}, Refused: []map[string]any{{"humidity": 101}, {"temperature": 200}},
	})
}

// SCD4x datasheet, section 3.5.2: 01f4 33 6667 a2 5eb9 3c is 500 ppm, 25 °C and 37 %.
func TestSCD4x_TheDatasheetsExampleIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, wire := proof.OnWire(t, SCD4x(), map[string]any{"altitude": 1950},
			[]byte{0xf8, 0x96, 0x31, 0x9f, 0x07, 0xc2, 0x3b, 0xbe, 0x89}, []byte{0x80, 0x06, 0x04},
			[]byte{0x01, 0xf4, 0x33, 0x66, 0x67, 0xa2, 0x5e, 0xb9, 0x3c})
		got := proof.Values(t, d)
		if got["co2"] != 500 || math.Abs(got["temperature"]-25) > 0.01 || math.Abs(got["humidity"]-0.37) > 0.0001 {
			t.Errorf("got %v, want 500 ppm, 25 °C and 37 %%", got)
		}
		// section 3.6.3: an altitude of 1950 m is written as 2427 079e 09
		if want := []byte{0x24, 0x27, 0x07, 0x9e, 0x09}; !bytes.Equal(wire.Written[2], want) {
			t.Errorf("altitude written as % x, want % x", wire.Written[2], want)
		}
	})
}

// SGP40 datasheet, table 10: without compensation the command is
// 260f 8000 a2 6666 93.
func TestSGP40_WritesTheDatasheetsCompensation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, wire := proof.OnWire(t, SGP40(), nil, []byte{0, 0, 0x81, 0, 0, 0x81, 0, 0, 0x81}, []byte{0x80, 0x00, 0xa2})
		proof.Values(t, d)
		if want := []byte{0x26, 0x0f, 0x80, 0x00, 0xa2, 0x66, 0x66, 0x93}; !bytes.Equal(wire.Written[1], want) {
			t.Errorf("wrote % x, want % x", wire.Written[1], want)
		}
	})
}

func FuzzRead_NoReplyGivesAValueTheChipCannotMeasure(f *testing.F) { proof.Fuzz(f, SCD4x(), SGP40()) }
