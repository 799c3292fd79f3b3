package voltage

import (
	"testing"
	"testing/synctest"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/proof"
)

func TestADS1x15_ReadTheWorldAndNameEveryCause(t *testing.T) {
	points := []map[string]float64{{"a0": 3.3, "a1": 0, "a2": 1.234, "a3": 4.09}, {"a0": 0.001, "a1": 2.5, "a2": 4, "a3": 0.0125}}
	refused := []map[string]any{{"range": 5}, {"rate": 100}}
	within := func(v float64) map[string]float64 { return map[string]float64{"a0": v, "a1": v, "a2": v, "a3": v} }
	proof.Run(t, proof.Case{Driver: ADS1115(), Points: points, Within: within(0.0001), Unchecked: true, Refused: refused})
	proof.Run(t, proof.Case{Driver: ADS1015(), Points: points, Within: within(0.0011), Unchecked: true, Refused: refused})
	small := []map[string]float64{{"a0": 0.1, "a1": -0.1, "a2": 0.25, "a3": 0.000008}}
	proof.Run(t, proof.Case{Driver: ADS1115(), Options: map[string]any{"range": 0.256, "rate": 8}, Points: small, Within: within(0.000005), Unchecked: true})
}

func TestMCP3008_ReadsTheWorldAndNamesEveryCause(t *testing.T) {
	point, within := map[string]float64{}, map[string]float64{}
	for i, v := range []float64{0, 0.5, 1, 1.5, 2, 2.5, 3, 3.29} {
		point[inputs("ch", 8)[i].Name], within[inputs("ch", 8)[i].Name] = v, 0.0017
	}
	proof.Run(t, proof.Case{Driver: MCP3008(), Points: []map[string]float64{point}, Within: within, Unchecked: true,
		Refused: []map[string]any{{"reference": 0}, {"reference": "3V3"}}})
}

// Goal: a slow chip's last input is never told as the present one. Method: the
// chip says twice that it is not ready. The words of table 3 are full scale and
// its half.
func TestADS1115_WaitsUntilTheChipSaysItIsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := [][]byte{{0x80, 0x00}, {0x7f, 0xff}}
		for input := range byte(4) {
			busy := []byte{0x43 + input<<4, 0x83}
			answers = append(answers, busy, busy, []byte{0xc3 + input<<4, 0x83}, []byte{0x40, input})
		}
		d, wire := proof.OnWire(t, ADS1115(), nil, answers...)
		got := proof.Values(t, d)
		if got["a0"] != 2.048 || got["a3"] != 2.048+3*4.096/32768 || len(wire.Answers) != 0 {
			t.Errorf("got %v with %d answers left; want 2.048 V and steps", got, len(wire.Answers))
		}
	})
}

func TestADS1115_AVoltageBeyondTheRangeIsNoValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := proof.OnWire(t, ADS1115(), nil, []byte{0x80, 0x00}, []byte{0x7f, 0xff}, []byte{0xc3, 0x83}, []byte{0x7f, 0xff})
		if list, err := d.Read(t.Context()); drivers.CauseOf(err) != drivers.CauseOutOfRange {
			t.Errorf("got %v, %v; want out of range", list, err)
		}
	})
}

func FuzzRead_NoReplyGivesAValueTheChipCannotMeasure(f *testing.F) {
	proof.Fuzz(f, ADS1115(), ADS1015(), MCP3008())
}
