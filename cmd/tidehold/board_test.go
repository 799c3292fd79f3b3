package main

import (
	"encoding/json"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tidehold/tidehold/drivers/sim"
	"github.com/tidehold/tidehold/gateway/gwtest"
	"github.com/tidehold/tidehold/gateway/gwtest/board"
)

// boardConfig is a gateway with a BME280 on the USB adapter, an active-low
// relay on line 5, a button on line 1, a pulse meter on line 2 and a broker on
// the host upstream. The password of `test` is `board`.
const boardConfig = `
version: 1
gateway: {id: board}
storage: {dir: /var/lib/tidehold}
mqtt:
  listeners: [{name: lan, bind: ":1883", tls: false, auth: password}]
security:
  policies: [{name: all, document: '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}'}]
  users: [{name: test, password: "$2b$04$PD/VaXxW8KMV1G8r1L.ptOJzBdHyuV2U/P4hWVdxYHOPMwWb/uXpa", policies: [all]}]
buses:
  - {name: usb, type: i2c, match: {adapter: "i2c-tiny-usb*"}, timeout: 1s}
sensors:
  - {name: cellar, driver: bme280, bus: usb, address: 0x76, poll: 2s, shadow_every: 2s, readings: {temperature: {}},
     telemetry: {topic: dt/cellar, every: 1s}}
inputs:
  - {name: door, pin: {chip: "9030000.pl061", line: 1}, debounce: 20ms}
  - {name: meter, pin: {chip: "9030000.pl061", line: 2}, edge: rising, counter: {per_unit: 1, unit: L, persist: 1s}}
outputs:
  - {name: relay, pin: {chip: "9030000.pl061", line: 5}, active: low, on_start: keep, on_stop: keep}
  - {name: pump, pin: {chip: "9030000.pl061", line: 6}, on_start: off, on_stop: off}
uplinks:
  - {name: plant, profile: mosquitto, endpoint: "tcp://10.0.2.2:UPSTREAM", telemetry: [{name: all, from: "dt/#"}]}
`

const (
	boardFile   = "/etc/tidehold.yaml"
	boardSocket = "/run/ctl.sock"
)

// emulated is the real binary on an emulated board, with its sensor.
type emulated struct {
	*board.Board
	t       *testing.T
	bus     *sim.Bus
	celsius atomic.Uint64
	app     *gwtest.Client
}

func boot(t *testing.T, m board.Machine) *emulated {
	t.Helper()
	gwtest.Need(t, "qemu-system-aarch64")
	e := &emulated{t: t, bus: sim.NewBus("usb", 1)}
	e.measure(21.5)
	chip := sim.NewBME280(func(quantity string) float64 {
		return map[string]float64{"temperature": math.Float64frombits(e.celsius.Load()), "humidity": 0.5, "pressure": 101325}[quantity]
	})
	if err := e.bus.Attach(0x76, chip); err != nil {
		t.Fatal(err)
	}
	e.Board = board.Boot(t, board.Config{Machine: m, Bus: e.bus, Files: map[string]string{"/tidehold": binaryFor(t, m)}, Ports: []int{1883}})
	return e
}

func binaryFor(t *testing.T, m board.Machine) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "tidehold")
	build := exec.Command("go", "build", "-tags", "nethttpomithttp2", "-trimpath", "-ldflags=-s -w", "-o", out, ".")
	build.Env = append(append(os.Environ(), "CGO_ENABLED=0"), m.Go...)
	if b, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build for %s: %v\n%s", m.Debian, err, b)
	}
	return out
}

func (e *emulated) measure(celsius float64) { e.celsius.Store(math.Float64bits(celsius)) }

// run starts the gateway and connects an app to it.
func (e *emulated) run() {
	e.t.Helper()
	e.Start("gateway", "/tidehold", "run", "--config", boardFile, "--socket", boardSocket)
	gwtest.Eventually(e.t, "the gateway serves MQTT", func() bool {
		app, err := gwtest.Dial(e.t, e.Address(1883), "app", gwtest.ClientOptions{Username: "test", Password: "board"})
		e.app = app
		return err == nil
	})
	e.app.Subscribe("dt/#", "$aws/things/board/shadow/update/accepted")
}

// ctl asks the running gateway.
func (e *emulated) ctl(args ...string) (string, int) {
	e.t.Helper()
	return e.Run(append([]string{"/tidehold", "--socket", boardSocket}, args...)...)
}

// reported is a member of the gateway's shadow: part, then value.
func (e *emulated) reported(part, value string) any {
	e.t.Helper()
	out, code := e.ctl("shadow", "get", "board")
	var doc struct {
		State struct{ Reported map[string]map[string]any }
	}
	if err := json.Unmarshal([]byte(out), &doc); code != 0 || err != nil {
		e.t.Fatalf("shadow get: exit %d, %v: %s", code, err, out)
	}
	return doc.State.Reported[part][value]
}

// within waits for f and says how long it took; it fails after most.
func (e *emulated) within(most time.Duration, what string, f func() bool) {
	e.t.Helper()
	begun := time.Now()
	for !f() {
		if time.Since(begun) > most {
			e.t.Fatalf("not within %s: %s", most, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
	e.t.Logf("after %s: %s", time.Since(begun).Round(time.Millisecond), what)
}

// still fails when an output line moved since the last look.
func (e *emulated) still(line, what string) {
	e.t.Helper()
	for _, move := range e.Lines.Moves() {
		if strings.HasSuffix(move, " "+line) {
			e.t.Errorf("%s: line %s moved (%s)", what, line, move)
		}
	}
}

// TestBoard_ARM64 proves the acceptance of drivers.md section 11 on a real
// kernel with real I2C and GPIO devices, with the real binary and a real
// broker upstream. One board serves all of it: booting costs the most.
func TestBoard_ARM64(t *testing.T) {
	gwtest.Slow(t, "boots a machine")
	upstream := gwtest.StartMosquitto(t)
	cloud := gwtest.Connect(t, upstream.Address, "cloud", gwtest.ClientOptions{})
	cloud.Subscribe("#")
	e := boot(t, board.ARM64())
	_, port, err := net.SplitHostPort(upstream.Address)
	if err != nil {
		t.Fatal(err)
	}
	e.Write(boardFile, strings.Replace(boardConfig, "UPSTREAM", port, 1))
	e.run()
	for _, clause := range []struct {
		name string
		show func(*emulated, *gwtest.Client)
	}{
		{"a value set outside is in telemetry, in reported and upstream", showValue},
		{"a chip that does not answer is a fault, and well again after its repair", showNACK},
		{"people see what is wired, beside the running gateway", showHands},
		{"an adapter that is unplugged and plugged again needs no restart", showReplug},
		{"a wish moves the line, and SIGTERM puts it off within a second", showOutput},
		{"a line whose state does not change shows no transition", showStill},
		{"a thousand pulses are counted exactly, and kill -9 takes none back", showPulses},
	} {
		if !t.Run(clause.name, func(t *testing.T) { e.t = t; clause.show(e, cloud) }) {
			break
		}
	}
}

// TestBoard_ARM32 starts the binary of the oldest boards (GOARM=6) on a 32-bit
// kernel, whose ioctl structures must have the same layout, with a bus that is
// not there: the gateway stays healthy and serves MQTT.
func TestBoard_ARM32(t *testing.T) {
	gwtest.Slow(t, "boots a machine")
	e := boot(t, board.ARM32())
	absent := "buses:\n  - {name: gone, type: i2c, match: {number: 9}}"
	text := strings.Replace(boardConfig, "buses:", absent, 1)
	e.Write(boardFile, strings.Replace(text, "UPSTREAM", "1", 1)+
		"  # nobody listens upstream\n")
	e.run()
	e.within(10*time.Second, "the sensor is read", func() bool { return e.reported("cellar", "ok") == true })
	e.Lines.Drive(1, true)
	e.within(5*time.Second, "the input is on", func() bool { return e.reported("door", "on") == true })
	e.app.Publish("$aws/things/board/shadow/update", `{"state":{"desired":{"pump":{"on":true}}}}`, 1)
	e.within(5*time.Second, "the output is on", func() bool { return e.reported("pump", "on") == true })
	e.bus.SetUnplugged(true)
	e.Adapter.Unplug()
	e.within(10*time.Second, "the sensor is a fault", func() bool { return e.reported("cellar", "ok") == false })
	if out, code := e.ctl("status"); code != 0 {
		t.Errorf("status without any bus: exit %d: %s", code, out)
	}
}

func showValue(e *emulated, cloud *gwtest.Client) {
	e.measure(31.25)
	fits := func(m gwtest.Message) bool { return strings.Contains(string(m.Payload), "31.2") }
	begun := time.Now()
	e.app.Await("telemetry with the value", func(m gwtest.Message) bool { return m.Topic == "dt/cellar" && fits(m) })
	e.t.Logf("telemetry after %s (poll 2s)", time.Since(begun).Round(time.Millisecond))
	cloud.Await("the value upstream", fits)
	e.within(7*time.Second, "reported has the value (shadow_every 2s, poll 2s)", func() bool {
		v, ok := e.reported("cellar", "temperature").(float64)
		return ok && math.Abs(v-31.25) < 0.02
	})
}

func showNACK(e *emulated, _ *gwtest.Client) {
	e.fault(sim.NACK)
	e.within(12*time.Second, "a fault by nack (3 polls of 2s)", func() bool { return e.reported("cellar", "fault") == "nack" })
	if e.reported("cellar", "ok") != false {
		e.t.Error("ok is not false")
	}
	e.fault(sim.NoFault)
	e.within(5*time.Second, "ok again", func() bool { return e.reported("cellar", "ok") == true })
}

// showHands runs the verbs of `hw` on the board.
func showHands(e *emulated, _ *gwtest.Client) {
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"scan"}, 0, "0x76"},
		{[]string{"identify"}, 0, "- {name: bme280-76, driver: bme280, bus: usb, address: 0x76}"},
		{[]string{"read", "cellar"}, 0, "31.25"},
		{[]string{"watch", "door"}, 1, "in use by somebody else"},
		{[]string{"set", "pump", "on", "--for", "1s"}, 0, "pump is on"},
		{[]string{"doctor"}, 0, "i2c-tiny-usb"},
	} {
		out, code := e.ctl(append([]string{"hw", "--config", boardFile}, c.args...)...)
		if code != c.code || !strings.Contains(out, c.want) {
			e.t.Errorf("hw %v: exit %d, want %d with %q in\n%s", c.args, code, c.code, c.want, out)
		}
	}
}

func (e *emulated) fault(kind sim.FaultKind) {
	e.t.Helper()
	if err := e.bus.SetFault(0x76, sim.Fault{Kind: kind}); err != nil {
		e.t.Fatal(err)
	}
}

func showReplug(e *emulated, _ *gwtest.Client) {
	e.Adapter.Unplug()
	e.within(10*time.Second, "ok is false", func() bool { return e.reported("cellar", "ok") == false })
	e.Adapter.Plug()
	e.within(10*time.Second, "ok again after the adapter is back", func() bool { return e.reported("cellar", "ok") == true })
}

func showOutput(e *emulated, _ *gwtest.Client) {
	e.Lines.Moves()
	e.app.Publish("$aws/things/board/shadow/update", `{"state":{"desired":{"pump":{"on":true}}}}`, 1)
	e.within(5*time.Second, "reported says on", func() bool { return e.reported("pump", "on") == true })
	if moves := fmt.Sprint(e.Lines.Moves()); moves != "[raise 6]" {
		e.t.Errorf("moves %s, want one raise of line 6", moves)
	}
	e.app.Publish("$aws/things/board/shadow/update", `{"state":{"desired":null}}`, 1)
	begun := time.Now()
	e.Signal("gateway", syscall.SIGTERM)
	e.within(time.Second, "the line is off after SIGTERM", func() bool {
		return strings.Contains(fmt.Sprint(e.Lines.Moves()), "lower 6")
	})
	e.End("gateway", syscall.SIGTERM)
	e.t.Logf("the gateway ended after %s", time.Since(begun).Round(time.Millisecond))
	e.run()
}

func showStill(e *emulated, _ *gwtest.Client) {
	for _, on := range []string{"true", "false"} {
		e.app.Publish("$aws/things/board/shadow/update", `{"state":{"desired":{"relay":{"on":`+on+`}}}}`, 1)
		e.within(5*time.Second, "reported.relay.on is "+on, func() bool { return fmt.Sprint(e.reported("relay", "on")) == on })
		e.Lines.Moves()
		e.End("gateway", syscall.SIGTERM)
		e.still("5", "stop with "+on)
		e.run()
		e.still("5", "start with "+on)
		e.End("gateway", syscall.SIGKILL)
		e.still("5", "kill -9 with "+on)
		if out, code := e.Run("/tidehold", "outputs", "--safe", "--config", boardFile); code != 0 {
			e.t.Errorf("outputs --safe: exit %d: %s", code, out)
		}
		e.still("5", "outputs --safe with "+on)
		e.run()
		e.still("5", "start after a crash with "+on)
	}
}

func showPulses(e *emulated, _ *gwtest.Client) {
	const pulses, pace = 1000, 5 * time.Millisecond
	total := func() int { n, _ := e.reported("meter", "count").(float64); return int(n) }
	before := total()
	send := func(n int) {
		for range n {
			e.Pulse(2, pace/2)
		}
	}
	send(pulses)
	e.within(5*time.Second, "all pulses are counted", func() bool { return total() == before+pulses })
	send(300)
	e.within(5*time.Second, "all pulses are counted", func() bool { return total() == before+pulses+300 })
	time.Sleep(1100 * time.Millisecond) // the persist window
	send(100)
	e.End("gateway", syscall.SIGKILL)
	e.run()
	e.within(5*time.Second, "the total is back", func() bool { return total() >= before+pulses+300 })
	if got := total(); got > before+pulses+400 {
		e.t.Errorf("total %d, more than the %d that were sent", got-before, pulses+400)
	}
}
