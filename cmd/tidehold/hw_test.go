package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/gwtest"
)

const hwParts = `buses: [{name: main, type: sim}]
sensors: [{name: climate, driver: bme280, bus: main, address: 0x76, readings: {temperature: {}}}]
outputs:
  - {name: fan, thing: fan-1, pin: {chip: main, line: 5}}
  - {name: pump, thing: fan-1, pin: {chip: main, line: 6}, require: [door]}
inputs: [{name: door, thing: door-1, pin: {chip: main, line: 7}}]
`

// TestHW_LooksAtTheWiringWithoutAGateway runs each verb as its user would.
func TestHW_LooksAtTheWiringWithoutAGateway(t *testing.T) {
	s := newSite(t, "gw", hwParts)
	found := ask[[]struct{ Bus, Address, Chip, Rule string }](t, "hw", "identify", "--config", s.config)
	if len(found) != 1 || found[0].Address != "0x76" || found[0].Chip != "bme280" || found[0].Rule == "" {
		t.Errorf("identify: %+v", found)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"scan"}, 0, "main  0x76"},
		{[]string{"scan", "--bus", "attic"}, 1, `no I2C bus "attic"`},
		{[]string{"identify"}, 0, "- {name: bme280-76, driver: bme280, bus: main, address: 0x76}"},
		{[]string{"read", "climate"}, 0, "temperature  21"},
		{[]string{"read", "climate", "--raw"}, 0, "pressure     101325."},
		{[]string{"read", "--driver", "bme280", "--address", "0x76"}, 0, "°C"},
		{[]string{"read", "--driver", "bme280", "--address", "0x77"}, 1, "not acknowledged"},
		{[]string{"read", "cellar"}, 1, `no sensor "cellar"`},
		{[]string{"read"}, 2, "--driver and --address"},
		{[]string{"set", "fan", "on", "--for", "10ms"}, 0, "fan is off again"},
		{[]string{"set", "fan", "perhaps"}, 2, "want on or off"},
		{[]string{"set", "attic", "on"}, 1, `no output "attic"`},
	} {
		out, code := verb(t, append(append([]string{"hw"}, c.args...), "--config", s.config, "--socket", s.socket)...)
		if code != c.code || !strings.Contains(out, c.want) {
			t.Errorf("hw %v: exit %d, want %d with %q in\n%s", c.args, code, c.code, c.want, out)
		}
	}
	watch := gwtest.Start(t, binary, "hw", "watch", "door", "--config", s.config)
	gwtest.Eventually(t, "watch tells the level", func() bool { return strings.Contains(watch.Output(), "low now") })
	checks := ask[[]struct {
		Check, Detail string
		OK            bool
	}](t, "hw", "doctor")
	if len(checks) < 8 {
		t.Errorf("doctor looks at %d things: %+v", len(checks), checks)
	}
}

// TestHW_SetAsksTheRunningGateway: its guards decide, and what it reports was
// read back.
func TestHW_SetAsksTheRunningGateway(t *testing.T) {
	s := newSite(t, "gw", hwParts)
	s.start()
	var said strings.Builder
	held := exec.Command(binary, "hw", "set", "fan", "on", "--for", "1m", "--config", s.config, "--socket", s.socket)
	held.Stderr = &said
	if err := held.Start(); err != nil {
		t.Fatal(err)
	}
	fan := func(on bool) bool {
		out := must(t, "sim", "get", "fan", "--socket", s.socket, "-o", "json")
		var level struct{ On bool }
		if err := json.Unmarshal([]byte(out), &level); err != nil {
			t.Fatalf("%v in %s", err, out)
		}
		return level.On == on
	}
	gwtest.Eventually(t, "the fan runs", func() bool { return fan(true) })
	if err := held.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := held.Wait(); err != nil {
		t.Errorf("interrupted: %v: %s", err, said.String())
	}
	gwtest.Eventually(t, "the fan rests after the interrupt", func() bool { return fan(false) })
	began := time.Now()
	out, code := verb(t, "hw", "set", "pump", "on", "--config", s.config, "--socket", s.socket)
	if code != 1 || !strings.Contains(out, "refuses: require") {
		t.Errorf("a guard: exit %d after %v: %s", code, time.Since(began), out)
	}
	s.stop()
}
