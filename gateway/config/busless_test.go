package config

import (
	"strings"
	"testing"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/kernel"
)

// zones is a table with the driver of thermal zones.
type zones struct{}

func (zones) Driver(name string) (drivers.Driver, bool) {
	return kernel.Thermal("/sys"), name == "thermal"
}

func (zones) Names() []string { return []string{"thermal"} }

func TestLoad_ASensorThatTheKernelReadsHasNoBus(t *testing.T) {
	opt := quiet()
	opt.Parts = zones{}
	for text, want := range map[string]string{
		"{name: s, driver: thermal, options: {zone: cpu-thermal}}": "",
		"{name: s, driver: thermal, bus: b}":                       "a thermal sits on no bus",
		"{name: s, driver: thermal, address: 0x48}":                "a thermal has no address",
	} {
		_, problems := LoadBytes("t.yaml", []byte(smallest+"buses: [{name: b, type: sim}]\nsensors: ["+text+"]\n"), opt)
		if got := errorsOf(problems); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}
