package temperature

import (
	"testing"
	"testing/synctest"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/proof"
)

func all() []drivers.Driver { return []drivers.Driver{LM75(), TMP102(), TMP117(), MCP9808()} }

func TestDrivers_ReadTheWorldAndNameEveryCause(t *testing.T) {
	within := map[string]float64{"lm75": 0.25, "tmp102": 0.032, "tmp117": 0.004, "mcp9808": 0.032}
	for _, d := range all() {
		name := d.Describe().Name
		c := proof.Case{Driver: d, Unchecked: true, Within: map[string]float64{"temperature": within[name]}}
		for _, v := range []float64{21.4, -39.9, -0.25, 0, 25, 100, 124.9} {
			c.Points = append(c.Points, map[string]float64{"temperature": v})
		}
		proof.Run(t, c)
	}
}

// The pairs are those of the datasheets: LM75B table 10, TMP102 table 8,
// TMP117 table 7-5, MCP9808 section 5.1.3.1.
func TestDrivers_TheDatasheetsWordsGiveWhatTheyPrint(t *testing.T) {
	id := map[string][][]byte{"lm75": {{0, 0}}, "tmp102": {{0x60, 0xa0}, {0x60, 0xa0}}, "tmp117": {{0x01, 0x17}, {1, 1}, {1, 1}}, "mcp9808": {{0, 0x54}, {4, 0}, {0, 0}}}
	for _, c := range []struct {
		driver drivers.Driver
		word   uint16
		want   float64
	}{
		{LM75(), 0x1900, 25}, {LM75(), 0x0080, 0.5}, {LM75(), 0xff80, -0.5}, {LM75(), 0xc900, -55},
		{TMP102(), 0x7ff0, 127.9375}, {TMP102(), 0x3200, 50}, {TMP102(), 0xe700, -25}, {TMP102(), 0xc900, -55},
		{TMP117(), 0x3200, 100}, {TMP117(), 0x0c80, 25}, {TMP117(), 0x0001, 0.0078125}, {TMP117(), 0xff80, -1}, {TMP117(), 0xf380, -25},
		{MCP9808(), 0xc194, 25.25}, {MCP9808(), 0x1e70, -25}, {MCP9808(), 0xe7d0, 125},
	} {
		name := c.driver.Describe().Name
		d, _ := proof.OnWire(t, c.driver, nil, append(id[name], []byte{byte(c.word >> 8), byte(c.word)})...)
		if got := proof.Values(t, d)["temperature"]; got != c.want {
			t.Errorf("%s 0x%04x: got %v, want %v", name, c.word, got, c.want)
		}
	}
}

// Goal: the value that a TMP117 has before its first conversion is never told
// (FL-161). Method: a chip that never ends it.
func TestTMP117_ItsPowerOnValueIsNoValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire := &proof.Wire{Answers: [][]byte{{0x01, 0x17}}}
		for range 6 {
			wire.Answers = append(wire.Answers, []byte{0x80, 0x00})
		}
		_, err := TMP117().Open(t.Context(), drivers.NewHandle(wire, 0x48), nil)
		if drivers.CauseOf(err) != drivers.CauseTimeout || len(wire.Answers) > 0 {
			t.Errorf("got %v with %d answers left; want a time-out after all", err, len(wire.Answers))
		}
	})
}

func FuzzRead_NoReplyGivesAValueTheChipCannotMeasure(f *testing.F) { proof.Fuzz(f, all()...) }
