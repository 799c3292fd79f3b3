package main

import (
	"os"
	"strings"
	"testing"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/sim"
	"github.com/tidehold/tidehold/gateway/config"
)

// Goal: every driver stands under its own name, says how it is recognised and
// how long it may take, and has a simulated chip, so that whoever has no
// hardware can try it. What the kernel reads sits on no bus, and there is no
// chip to simulate; its channels follow from the options.
func TestParts_EachHasItsNameABoundAndASimulatedChip(t *testing.T) {
	for name, d := range parts() {
		sheet := d.Describe()
		if sheet.Name != name || sheet.Identify == "" || sheet.MaxRead <= 0 {
			t.Errorf("%s: described as %+v", name, sheet)
		}
		if _, shaped := d.(drivers.Shaped); shaped {
			continue
		}
		if len(sheet.Channels) == 0 {
			t.Errorf("%s measures nothing", name)
		}
		for _, c := range sheet.Channels {
			if _, err := drivers.Convert(c.Quantity, 1, c.Unit); err != nil {
				t.Errorf("%s: %s: %v", name, c.Name, err)
			}
		}
		for _, p := range sim.CheckSensor(drivers.SensorConfig{Driver: name}, sheet) {
			t.Errorf("%s: %s", name, p)
		}
	}
}

// Goal: the file that shows every kind of part is right, with these drivers, and
// every driver of a chip on a board stands in the README.
func TestParts_TheExampleAndTheReadmeKnowThem(t *testing.T) {
	_, problems := config.Load("../../configs/parts.yaml", config.Options{Hostname: "pi", Parts: parts(), CheckSimulated: sim.CheckSensor})
	for _, p := range problems {
		t.Error(p)
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for name := range parts() {
		if !strings.Contains(string(readme), "`"+name+"`") {
			t.Errorf("the README does not name %s", name)
		}
	}
}
