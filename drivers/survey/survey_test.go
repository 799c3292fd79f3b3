package survey

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/bme280"
	"github.com/tidehold/tidehold/drivers/sim"
)

// wires is a bus where a few addresses answer.
type wires struct {
	answers map[uint16]error // nil: it answers
	asked   map[uint16][]byte
}

func (*wires) Name() string    { return "main" }
func (*wires) Simulated() bool { return true }

func (w *wires) Tx(_ context.Context, addr uint16, out, in []byte) error {
	if w.asked == nil {
		w.asked = map[uint16][]byte{}
	}
	w.asked[addr] = append(w.asked[addr], out...)
	err, known := w.answers[addr]
	if !known {
		return drivers.ErrNACK
	}
	clear(in)
	return err
}

// nameless is a driver of a chip without identity.
type nameless struct{ drivers.Driver }

func (nameless) Describe() drivers.Info {
	return drivers.Info{Name: "nameless", Bus: "i2c", Addresses: []uint16{0x76, 0x23}}
}

type table map[string]drivers.Driver

func (t table) Driver(name string) (drivers.Driver, bool) { d, ok := t[name]; return d, ok }
func (t table) Names() []string                           { return []string{"bme280", "nameless"} }

var parts = table{"bme280": bme280.Driver{}, "nameless": nameless{}}

func addresses(all []Found) (s []string) {
	for _, f := range all {
		s = append(s, f.Address)
	}
	return s
}

func TestScan_ReadsOneByteFromEveryAddressAndWritesNothing(t *testing.T) {
	w := &wires{answers: map[uint16]error{0x08: nil, 0x36: nil, 0x50: nil, 0x77: nil, 0x20: drivers.ErrNotClaimed, 0x30: drivers.ErrTimeout}}
	found, err := Scan(t.Context(), w)
	if want := []string{"0x08", "0x20", "0x36", "0x50", "0x77"}; err != nil || !slices.Equal(addresses(found), want) {
		t.Fatalf("found %v, %v; want %v", found, err, want)
	}
	if found[1].Kernel == "" {
		t.Error("the kernel's address is not marked")
	}
	if len(w.asked) != 0x77-0x08+1 {
		t.Errorf("%d addresses were asked", len(w.asked))
	}
	for addr, written := range w.asked {
		if len(written) > 0 {
			t.Errorf("0x%02x: % x was written", addr, written)
		}
	}
}

func TestScan_EndsWithTheBus(t *testing.T) {
	if _, err := Scan(t.Context(), &wires{answers: map[uint16]error{0x10: drivers.ErrPermission}}); !errors.Is(err, drivers.ErrPermission) {
		t.Errorf("no rights: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	if _, err := Scan(ctx, &wires{answers: map[uint16]error{0x08: drivers.ErrTimeout}}); err == nil || !strings.Contains(err.Error(), "enough") {
		t.Errorf("ended: %v", err)
	}
}

// climate is a bus with a simulated BME280.
func climate(t *testing.T) drivers.Bus {
	t.Helper()
	world := sim.NewWorld()
	b, err := world.AddBus(drivers.BusConfig{Name: "main", Type: "sim"})
	if err != nil {
		t.Fatal(err)
	}
	if err := world.AddSensor(drivers.SensorConfig{Name: "climate", Driver: "bme280", Bus: "main", Address: []uint16{0x76}}, bme280.Driver{}.Describe()); err != nil {
		t.Fatal(err)
	}
	return b
}

// TestIdentify_NamesWhatIsCertainAndListsTheRest runs the real driver's rule on
// the simulated chip.
func TestIdentify_NamesWhatIsCertainAndListsTheRest(t *testing.T) {
	b := climate(t)
	found, err := Scan(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	found = append(found, Found{Bus: "main", Address: "0x23", addr: 0x23}, Found{Bus: "main", Address: "0x44", addr: 0x44}, Found{Bus: "main", Address: "0x68", addr: 0x68, Kernel: "rtc"})
	got := Identify(t.Context(), b, found, parts)
	if got := addresses(got); !slices.Equal(got, []string{"0x23", "0x44", "0x68", "0x76"}) {
		t.Fatalf("addresses %v", got)
	}
	if f := got[3]; f.Chip != "bme280" || f.Rule == "" || f.Candidates != nil {
		t.Errorf("0x76 is %+v", f)
	}
	if f := got[0]; f.Chip != "" || !slices.Equal(f.Candidates, []string{"nameless"}) {
		t.Errorf("0x23 is %+v", f)
	}
	number := 1
	text := YAML([]drivers.BusConfig{{Name: "main", Type: "i2c", Match: drivers.Match{Number: &number}}}, got)
	for _, want := range []string{
		"- {name: main, type: i2c, match: {number: 1}}", "\n  - {name: bme280-76, driver: bme280, bus: main, address: 0x76}\n",
		"# - {name: nameless-23,", "0x44 on main: no driver knows", "0x68 on main: in use by the kernel",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// TestIdentify_AsksAtSilentAddressesToo: a chip like the SHT3x does not answer a
// bare read, so the scan did not find it.
func TestIdentify_AsksAtSilentAddressesToo(t *testing.T) {
	b := climate(t)
	if got := Identify(t.Context(), b, nil, parts); len(got) != 1 || got[0].Chip != "bme280" {
		t.Errorf("got %+v", got)
	}
}

func TestIdentify_AnotherChipAtTheAddressIsNotTaken(t *testing.T) {
	w := &wires{answers: map[uint16]error{0x76: nil}} // its registers read 0
	found, _ := Scan(t.Context(), w)
	got := Identify(t.Context(), w, found, parts)
	if got[0].Chip != "" || !slices.Equal(got[0].Candidates, []string{"nameless"}) {
		t.Errorf("got %+v", got[0])
	}
}

func check(t *testing.T, root fstest.MapFS, who Person, name string) Check {
	t.Helper()
	all := Doctor(root, who)
	i := slices.IndexFunc(all, func(c Check) bool { return c.Check == name })
	if i < 0 {
		return Check{}
	}
	return all[i]
}

func file(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }

func TestDoctor_SaysWhatIsWrongAndWhatToDo(t *testing.T) {
	pi := fstest.MapFS{
		"proc/device-tree/model":                 file("Raspberry Pi 3 Model B\x00"),
		"sys/bus/i2c/devices/i2c-1/name":         file("bcm2835 (i2c@7e804000)\n"),
		"sys/bus/i2c/devices/1-0068/name":        file("ds1307\n"),
		"sys/bus/i2c/devices/1-0068/driver":      file(""),
		"dev/gpiochip0":                          file(""),
		"sys/class/hwmon/hwmon1/name":            file("rpi_volt\n"),
		"sys/class/hwmon/hwmon1/in0_lcrit_alarm": file("1\n"),
		"sys/class/pwm/pwmchip0/npwm":            file("2\n"),
		"boot/firmware/config.txt":               file("# x\ndtparam=i2c_arm=on\ndtoverlay=w1-gpio\n"),
	}
	user := Person{Groups: []string{"i2c"}}
	for name, want := range map[string]struct {
		ok   bool
		text string
	}{
		"board":                   {true, "Raspberry Pi 3"},
		"I2C adapters":            {false, "modprobe i2c-dev"},
		"clock stretching":        {true, "BCM2835"},
		"GPIO chips":              {false, "usermod -aG gpio"},
		"SPI nodes":               {true, "none"},
		"addresses of the kernel": {true, "bus 1 0x68 (ds1307)"},
		"PWM chips":               {true, "pwmchip0 with 2 channels"},
		"supply voltage":          {false, "stronger supply"},
		"overlays":                {true, "dtparam=i2c_arm=on, dtoverlay=w1-gpio"},
	} {
		if c := check(t, pi, user, name); c.OK != want.ok || !strings.Contains(c.Detail+c.Hint, want.text) {
			t.Errorf("%s: %+v, want %v with %q", name, c, want.ok, want.text)
		}
	}
	pi["dev/i2c-1"] = file("")
	if c := check(t, pi, user, "I2C adapters"); !c.OK {
		t.Errorf("with its node: %+v", c)
	}
	if c := check(t, pi, Person{Root: true}, "GPIO chips"); !c.OK {
		t.Errorf("root: %+v", c)
	}
}

func TestDoctor_AHostWithoutHardwareIsWell(t *testing.T) {
	for _, c := range Doctor(fstest.MapFS{}, Person{}) {
		if !c.OK {
			t.Errorf("%+v", c)
		}
	}
}
