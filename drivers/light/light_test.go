package light

import (
	"math"
	"testing"
	"testing/synctest"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/proof"
	"github.com/tidehold/tidehold/drivers/sim"
)

func lux(values ...float64) (points []map[string]float64) {
	for _, v := range values {
		points = append(points, map[string]float64{"illuminance": v})
	}
	return points
}

func TestBH1750_ReadsTheWorldAndNamesEveryCause(t *testing.T) {
	proof.Run(t, proof.Case{Driver: BH1750(), Points: lux(300, 0, 1, 54612), Within: map[string]float64{"illuminance": 0.42}, Anonymous: true, Unchecked: true})
}

// BH1750FVI datasheet, "measurement sequence example": the bytes 0x83 and 0x90
// are 28067 lx.
func TestBH1750_TheDatasheetsExampleIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := proof.OnWire(t, BH1750(), nil, []byte{0x83, 0x90})
		if got := proof.Values(t, d)["illuminance"]; math.Abs(got-28067) > 0.5 {
			t.Errorf("got %v, want 28067", got)
		}
	})
}

func TestVEML7700_ReadsTheWorldAndNamesEveryCause(t *testing.T) {
	refused := []map[string]any{{"gain": 3}, {"integration": 60}}
	proof.Run(t, proof.Case{Driver: VEML7700(), Points: lux(300, 0, 20, 2000, 90000), Within: map[string]float64{"illuminance": 5}, Unchecked: true, Refused: refused})
	proof.Run(t, proof.Case{Driver: VEML7700(), Options: map[string]any{"gain": 2, "integration": 800}, Points: lux(10, 0.5, 250),
		Within: map[string]float64{"illuminance": 0.003}, Unchecked: true})
}

// The application note (84323) prints the resolution of every setting: 0.0042
// lx at gain 2 and 800 ms, 2.1504 lx at gain 1/8 and 25 ms.
func TestVEML7700_TheResolutionsAreThoseOfTheApplicationNote(t *testing.T) {
	for _, c := range []struct {
		gain float64
		ms   int64
		want float64
	}{{2, 800, 0.0042}, {2, 100, 0.0336}, {1, 400, 0.0168}, {0.25, 50, 0.5376}, {0.125, 25, 2.1504}} {
		if got := resolution(c.gain, c.ms); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("gain %v, %d ms: got %v, want %v", c.gain, c.ms, got, c.want)
		}
	}
}

// Goal: a sensor in too much light never tells less than there is. Method: full
// sun at the finest setting.
func TestVEML7700_AFullCountIsNoValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sim.NewWorld()
		bus, err := w.AddBus(drivers.BusConfig{Name: "b", Type: "sim"})
		if err != nil {
			t.Fatal(err)
		}
		c := drivers.SensorConfig{Name: "s", Driver: "veml7700", Bus: "b", Simulate: map[string]any{"illuminance": 90000}}
		if err := w.AddSensor(c, VEML7700().Describe()); err != nil {
			t.Fatal(err)
		}
		d, err := VEML7700().Open(t.Context(), drivers.NewHandle(bus, 0x10), proof.Checked(t, VEML7700(), map[string]any{"gain": 2}))
		if err != nil {
			t.Fatal(err)
		}
		if list, err := d.Read(t.Context()); drivers.CauseOf(err) != drivers.CauseOutOfRange {
			t.Errorf("got %v, %v; want out of range", list, err)
		}
	})
}

func FuzzRead_NoReplyGivesAValueTheChipCannotMeasure(f *testing.F) {
	proof.Fuzz(f, BH1750(), VEML7700())
}
