package temperature

import (
	"encoding/binary"
	"math"
	"testing"
	"testing/synctest"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/proof"
)

func TestMAX31855_ReadsTheWorldAndNamesEveryCause(t *testing.T) {
	proof.Run(t, proof.Case{Driver: MAX31855(), Unchecked: true, Within: map[string]float64{"temperature": 0.126, "internal": 0.032}, Points: []map[string]float64{
		{"temperature": 21.4, "internal": 24}, {"temperature": -199.9, "internal": -40}, {"temperature": 0.5, "internal": 0}, {"temperature": 1350, "internal": 84.9}}})
}

// The words are those of the datasheet (19-5793, tables 4 and 5).
func TestMAX31855_TheDatasheetsWordsGiveWhatItPrints(t *testing.T) {
	for _, c := range []struct {
		probe, internal uint32 // 14 bits and 12 bits, as printed
		want, inside    float64
	}{{0b01100100000000, 0b011111110000, 1600, 127}, {0b00111110100000, 0b011001001001, 1000, 100.5625}, {0b00000110010011, 0b000110010000, 100.75, 25},
		{0b11111111111111, 0b111111111111, -0.25, -0.0625}, {0b11110000011000, 0b110010010000, -250, -55}} {
		word := binary.BigEndian.AppendUint32(nil, c.probe<<18|c.internal<<4)
		d, _ := proof.OnWire(t, MAX31855(), nil, word, word)
		if got := proof.Values(t, d); got["temperature"] != c.want || got["internal"] != c.inside {
			t.Errorf("% x: got %v, want %v and %v", word, got, c.want, c.inside)
		}
	}
}

// Goal: neither a broken probe nor an empty line ever measures (FL-161).
func TestMAX31855_AFaultOrAnEmptyLineIsNoValue(t *testing.T) {
	good := []byte{0x01, 0x90, 0x19, 0x00}
	for word, want := range map[[4]byte]drivers.Cause{
		{0, 1, 0x19, 1}: drivers.CauseOutOfRange, {0, 1, 0x19, 2}: drivers.CauseOutOfRange, {0, 1, 0x19, 4}: drivers.CauseOutOfRange,
		{}: drivers.CauseWrongChip, {0xff, 0xff, 0xff, 0xff}: drivers.CauseWrongChip,
	} {
		d, _ := proof.OnWire(t, MAX31855(), nil, good, word[:])
		if list, err := d.Read(t.Context()); drivers.CauseOf(err) != want {
			t.Errorf("% x: got %v, %v; want %v", word, list, err, want)
		}
	}
}

func TestMAX31865_ReadsTheWorldAndNamesEveryCause(t *testing.T) {
	c := proof.Case{Driver: MAX31865(), Unchecked: true, Within: map[string]float64{"temperature": 0.03},
		Refused: []map[string]any{{"resistor": 200}, {"wires": 5}, {"mains": 55}, {"reference": 1}}}
	for _, v := range []float64{21.4, -199, -40, -0.01, 0, 100, 500, 849} {
		c.Points = append(c.Points, map[string]float64{"temperature": v})
	}
	proof.Run(t, c)
	c.Options, c.Refused = map[string]any{"wires": 3, "mains": 60}, nil
	proof.Run(t, c)
}

// The pairs are rows of the datasheet's table for a Pt100 and 400 ohms (19-6478,
// table 9).
func TestMAX31865_TheDatasheetsTableIsMatched(t *testing.T) {
	for code, want := range map[uint16]float64{0x2000: 0, 0x2c52: 100, 0x2674: 51.6, 0x1adf: -40.6} {
		ratio := float64(code) / 32768 * 4
		if got := platinum(ratio); math.Abs(got-want) > 1 {
			t.Errorf("code 0x%04x: got %v, want about %v", code, got, want)
		}
	}
}

func TestMAX31865_AFaultIsNoValueAndIsCleared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, wire := proof.OnWire(t, MAX31865(), nil, []byte{0, 0xff, 0xff, 0, 0}, []byte{0, 0}, []byte{0, 0xc1}, []byte{0, 0x40, 0x01}, []byte{0, 0})
		if list, err := d.Read(t.Context()); drivers.CauseOf(err) != drivers.CauseOutOfRange {
			t.Errorf("got %v, %v; want out of range", list, err)
		}
		if last := wire.Written[len(wire.Written)-1]; last[0] != 0x80 || last[1]&2 == 0 {
			t.Errorf("last write % x; want the fault cleared", last)
		}
	})
}
