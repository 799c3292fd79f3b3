package bus

import (
	"testing"
	"testing/synctest"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/sim"
)

// Goal: the pins of an expander are lines and channels like any other, on the
// bus that everybody shares.
func TestHost_PinsOfAnExpanderAreLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sim.NewWorld()
		c := drivers.BusConfig{Name: "main", Type: "sim"}
		if _, err := w.AddBus(c); err != nil {
			t.Fatal(err)
		}
		for range 2 { // once for each part on it
			if err := w.AddExpander("main", 0x20, "mcp23017"); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.AddExpander("main", 0x40, "pca9685"); err != nil {
			t.Fatal(err)
		}
		h, err := Open([]drivers.BusConfig{c}, Options{World: w})
		if err != nil {
			t.Fatal(err)
		}
		pin := drivers.PinConfig{Chip: "main/0x20/mcp23017", Line: "GPB7"}
		relay, err := h.Output(pin, drivers.High)
		if err != nil {
			t.Fatal(err)
		}
		if high, err := relay.Read(); err != nil || !high || !h.Simulated(pin) {
			t.Errorf("the pin reads %v, %v; simulated %v", high, err, h.Simulated(pin))
		}
		button, err := h.Input(drivers.PinConfig{Chip: pin.Chip, Line: "GPA0"}, drivers.PullUp, drivers.BothEdges)
		if err != nil {
			t.Fatal(err)
		}
		if high, err := button.Read(); err != nil || high {
			t.Errorf("the input reads %v, %v", high, err)
		}
		half := 50.0
		lamp, err := h.PWM(drivers.PWMConfig{Chip: "main/0x40/pca9685", Channel: 2, Frequency: 200}, &half)
		if err != nil {
			t.Fatal(err)
		}
		if v, err := lamp.Level(); err != nil || v != 50 {
			t.Errorf("level %v, %v", v, err)
		}
	})
}
