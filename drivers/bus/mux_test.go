package bus

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/bme280"
	"github.com/tidehold/tidehold/drivers/sim"
)

// Goal: chips with the same address behind different ports, and one on the bus
// itself, are told apart. Method: the shipped driver on simulated chips that
// only hear through an open port.
func TestPort_ChipsOfOneAddressAreToldApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sim.NewWorld()
		boards := []drivers.BusConfig{{Name: "board", Type: "sim"}}
		if _, err := w.AddBus(boards[0]); err != nil {
			t.Fatal(err)
		}
		h, err := Open(boards, Options{World: w})
		if err != nil {
			t.Fatal(err)
		}
		places := map[string]float64{"board/0x70/0": 10, "board/0x70/3": 20, "board/0x71/3": 30, "board/0x71/5/0x72/1": 40}
		devices := map[string]drivers.Device{}
		for place, celsius := range places {
			c := drivers.SensorConfig{Name: fmt.Sprint("s", celsius), Driver: "bme280", Bus: place, Address: []uint16{0x76},
				Simulate: map[string]any{"temperature": map[string]any{"constant": celsius}}}
			if err := w.AddSensor(c, bme280.Driver{}.Describe()); err != nil {
				t.Fatal(err)
			}
			bus, err := h.Bus(place)
			if err != nil {
				t.Fatal(err)
			}
			opt, _ := drivers.CheckOptions(bme280.Driver{}.Describe().Options, nil)
			if devices[place], err = (bme280.Driver{}).Open(t.Context(), drivers.NewHandle(bus, 0x76), opt); err != nil {
				t.Fatalf("%s: %v", place, err)
			}
		}
		for range 3 {
			for place, celsius := range places {
				readings, err := devices[place].Read(t.Context())
				if err != nil || readings[0].Value < celsius-0.1 || readings[0].Value > celsius+0.1 {
					t.Errorf("%s: %v, %v; want %v", place, readings, err, celsius)
				}
			}
		}
		root, err := h.Bus("board")
		if err != nil {
			t.Fatal(err)
		}
		if err := root.Tx(t.Context(), 0x76, []byte{0xd0}, make([]byte, 1)); !errors.Is(err, drivers.ErrNACK) {
			t.Errorf("a chip behind a port answers on the bus itself: %v", err)
		}
		if err := w.Fault("s20", "nack", ""); err != nil {
			t.Fatal(err)
		}
		if _, err := devices["board/0x70/3"].Read(t.Context()); !errors.Is(err, drivers.ErrNACK) {
			t.Errorf("the broken one: %v", err)
		}
		if _, err := devices["board/0x70/0"].Read(t.Context()); err != nil {
			t.Errorf("its neighbour: %v", err)
		}
	})
}
