package registermap

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/proof"
	"github.com/tidehold/tidehold/drivers/sim"
	"github.com/tidehold/tidehold/drivers/sim/chip"
)

// The programs are those of drivers.md section 7, and one with `until`, bits
// and a value that uses another. JSON is YAML that the standard library reads.
const (
	sht = `{
		"init": [{"write": [48, 147]}, {"wait": "1ms"}],
		"poll": [{"write": [36, 0]}, {"wait": "16ms"}, {"read": {"len": 6, "crc8": {"poly": 49, "init": 255, "every": 2}}, "into": "raw"}],
		"values": {
			"temperature": {"from": "raw", "type": "u16be", "at": 0, "formula": "-45 + 175 * x / 65535", "quantity": "temperature", "unit": "°C"},
			"humidity": {"from": "raw", "type": "u16be", "at": 3, "formula": "100 * x / 65535", "quantity": "humidity", "unit": "%"}}}`
	tmp = `{
		"identify": {"read": {"reg": 15, "len": 2}, "mask": 4095, "equals": 279},
		"poll": [{"read": {"reg": 0, "len": 2}}],
		"values": {"temperature": {"type": "s16", "formula": "x * 0.0078125", "unit": "°C"}}}`
	aht = `{
		"init": [{"write": [190, 8, 0]}, {"wait": "10ms"}],
		"poll": [{"write": [172, 51, 0]}, {"until": {"read": {"len": 1}, "mask": 128, "equals": 0, "timeout": "200ms"}}, {"read": {"len": 7}, "into": "b"}],
		"values": {
			"humidity": {"from": "b", "type": "u24be", "at": 1, "bits": {"shift": 4, "width": 20}, "formula": "100 * x / 1048576", "quantity": "humidity", "unit": "%"},
			"temperature": {"from": "b", "type": "u24be", "at": 3, "bits": {"width": 20}, "formula": "x / 1048576 * 200 - 50", "unit": "°C"},
			"above_dew": {"from": "b", "type": "u8", "formula": "temperature - (temperature - (100 - humidity) / 5)", "unit": "°C"}}}`
)

func options(t *testing.T, text string) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func shape(t *testing.T, text string) drivers.Driver {
	t.Helper()
	c := drivers.SensorConfig{Driver: "register-map", Bus: "b", Address: []uint16{0x44}, Poll: time.Second, Options: options(t, text)}
	if problems := drivers.CheckSensor(c, Driver{}); len(problems) > 0 {
		t.Fatal(problems)
	}
	d, _ := drivers.DriverFor(c, Driver{})
	return d
}

func world(values map[string]float64) chip.World {
	return func(name string) float64 { return values[name] }
}

func bus(t *testing.T, c sim.Chip) *sim.Bus {
	t.Helper()
	b := sim.NewBus("b", 1)
	if err := b.Attach(0x44, c); err != nil {
		t.Fatal(err)
	}
	return b
}

func open(t *testing.T, d drivers.Driver, b drivers.Bus) (drivers.Device, error) {
	t.Helper()
	return d.Open(t.Context(), drivers.NewHandle(b, 0x44), nil)
}

// Goal: the written programs read the same chips as the drivers do.
func TestRead_ProgramsReadTheSimulatedChips(t *testing.T) {
	air := world(map[string]float64{"temperature": -12.5, "humidity": 0.625})
	for text, c := range map[string]func() sim.Chip{
		sht: func() sim.Chip { return chip.SHT3x(air) }, aht: func() sim.Chip { return chip.AHT20(air) }, tmp: func() sim.Chip { return chip.TMP117(air) },
	} {
		synctest.Test(t, func(t *testing.T) {
			d, err := open(t, shape(t, text), bus(t, c()))
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second) // the TMP117's first conversion
			got := proof.Values(t, d)
			if math.Abs(got["temperature"]+12.5) > 0.01 {
				t.Errorf("temperature %v, want -12.5", got["temperature"])
			}
			if h, read := got["humidity"]; read && math.Abs(h-0.625) > 0.0001 {
				t.Errorf("humidity %v, want 0.625", h)
			}
			if dew, read := got["above_dew"]; read && math.Abs(dew-7.5) > 0.01 {
				t.Errorf("above_dew %v, want 7.5, from the two others", dew)
			}
		})
	}
}

func TestRead_NamesEveryCause(t *testing.T) {
	air := world(map[string]float64{"temperature": 20, "humidity": 0.5})
	for _, c := range []struct {
		text  string
		chip  sim.Chip
		fault sim.FaultKind
		want  error
	}{
		{sht, chip.SHT3x(air), sim.Flip, drivers.ErrCRC}, {sht, chip.SHT3x(air), sim.NACK, drivers.ErrNACK},
		{tmp, chip.TMP117(air), sim.WrongID, drivers.ErrWrongChip}, {tmp, chip.TMP117(air), sim.NACK, drivers.ErrNACK},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := bus(t, c.chip)
			if err := b.SetFault(0x44, sim.Fault{Kind: c.fault}); err != nil {
				t.Fatal(err)
			}
			d, err := open(t, shape(t, c.text), b)
			if err == nil {
				_, err = d.Read(t.Context())
			}
			if !errors.Is(err, c.want) {
				t.Errorf("fault %s: got %v, want %v", c.fault, err, c.want)
			}
		})
	}
}

// Goal: a condition that never comes true ends by its own time-out.
func TestRead_UntilEndsByItsTimeout(t *testing.T) {
	text := `{"poll": [{"until": {"read": {"reg": 1}, "equals": 7, "timeout": "50ms"}}, {"read": {}}], "values": {"a": {}}}`
	synctest.Test(t, func(t *testing.T) {
		r := &chip.Registers{}
		d, err := open(t, shape(t, text), bus(t, r.Up()))
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := d.Read(t.Context()); !errors.Is(err, drivers.ErrTimeout) || time.Since(start) != 50*time.Millisecond {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
	})
}

func TestDecode_EveryTypeIsReadAsItsName(t *testing.T) {
	b := []byte{0x12, 0x34, 0x56, 0xf8, 0xc0, 0x49, 0x00, 0x00}
	for _, c := range []struct {
		form         string
		at           int
		shift, width uint
		want         float64
	}{
		{"u8", 3, 0, 0, 248}, {"s8", 3, 0, 0, -8}, {"u16", 0, 0, 0, 0x1234}, {"u16be", 0, 0, 0, 0x1234}, {"u16le", 0, 0, 0, 0x3412}, {"s16be", 3, 0, 0, -1856},
		{"u24be", 0, 0, 0, 0x123456}, {"u24le", 0, 0, 0, 0x563412}, {"s24be", 3, 0, 0, -475063}, {"u32be", 0, 0, 0, 0x123456f8}, {"s32le", 0, 0, 0, -128568302},
		{"f32be", 4, 0, 0, -3.140625}, {"bcd", 0, 0, 0, 12}, {"bcd16be", 0, 0, 0, 1234}, {"bcd8", 1, 0, 0, 34},
		{"u16be", 0, 4, 8, 0x23}, {"s8", 3, 3, 2, -1}, {"u8", 3, 3, 1, 1},
	} {
		f, ok := parseForm(c.form)
		if !ok {
			t.Errorf("%s is a type", c.form)
			continue
		}
		if c.form == "f32be" {
			b = []byte{0, 0, 0, 0, 0xc0, 0x49, 0x00, 0x00}
		}
		if got := (value{form: f, at: c.at, shift: c.shift, width: c.width}).decode(b); got != c.want {
			t.Errorf("%s at %d, bits %d of %d: got %v, want %v", c.form, c.at, c.width, c.shift, got, c.want)
		}
		b = []byte{0x12, 0x34, 0x56, 0xf8, 0xc0, 0x49, 0x00, 0x00}
	}
	if got := (value{form: form{size: 1, kind: 'b'}}).decode([]byte{0x1a}); !math.IsNaN(got) {
		t.Errorf("a decimal digit above 9 gave %v", got)
	}
	for _, name := range []string{"", "u", "u9", "f16", "int", "u16xe", "bcdx", "le"} {
		if _, ok := parseForm(name); ok {
			t.Errorf("%q is no type", name)
		}
	}
}

func TestShape_EveryFaultIsToldAtItsPlace(t *testing.T) {
	const good = `"values": {"a": {}}`
	for text, want := range map[string]string{
		`{"poll": [{"read": {}}]}`:                                                           "options.values: want a map",
		`{"poll": 3, ` + good + `}`:                                                          "options.poll: want a list",
		`{"poll": [3], ` + good + `}`:                                                        "options.poll[0]: want a map",
		`{"poll": [{"write": [1], "wait": "1s"}], ` + good + `}`:                             "options.poll[0]: want one of",
		`{"poll": [{"jump": 1}], ` + good + `}`:                                              "options.poll[0].jump: unknown",
		`{"poll": [{"write": [256]}], ` + good + `}`:                                         "options.poll[0].write[0]: want a whole number from 0 to 255",
		`{"poll": [{"write": []}], ` + good + `}`:                                            "options.poll[0].write: 0 bytes",
		`{"poll": [{"wait": "1h"}], ` + good + `}`:                                           "options.poll[0].wait: want a duration up to 20s",
		`{"poll": [{"read": {"len": 0}}], ` + good + `}`:                                     "options.poll[0].read.len",
		`{"poll": [{"read": {"len": 5, "crc8": {}}}], ` + good + `}`:                         "options.poll[0].read.crc8: 5 bytes",
		`{"poll": [{"write": 1, "into": "a"}], ` + good + `}`:                                "options.poll[0].into",
		`{"poll": [{"until": {"read": {}, "equals": 1}}], ` + good + `}`:                     "options.poll[0].until.timeout",
		`{"poll": [{"until": {"read": {}, "equals": 1, "timeout": "10s"}}], ` + good + `}`:   "options.poll: up to 2001 transactions, at most 256",
		`{"poll": [{"wait": "11s"}, {"wait": "10s"}], ` + good + `}`:                         "options.poll: waits up to 21s",
		`{"identify": {"read": {}}, "poll": [{"read": {}}], ` + good + `}`:                   "options.identify: want read and equals",
		`{"identify": {"read": {}, "equals": 3, "mask": 1}, ` + good + `}`:                   "options.identify.equals: 0x3 has bits outside",
		`{"identify": {"read": {"len": 9}, "equals": 3}, ` + good + `}`:                      "options.identify.read.len",
		`{"poll": [{"read": {}}], "values": {"a": {"from": "b"}}}`:                           `options.values.a.from: no read of poll goes into "b"`,
		`{"poll": [{"read": {}}], "values": {"a": {"type": "u16"}}}`:                         "options.values.a.at: bytes 0 to 1 lie outside of the 1",
		`{"poll": [{"read": {}}], "values": {"a": {"type": "word"}}}`:                        "options.values.a.type: unknown type",
		`{"poll": [{"read": {}}], "values": {"a": {"bits": {"shift": 7, "width": 2}}}}`:      "options.values.a.bits.width",
		`{"poll": [{"read": {}}], "values": {"a": {"formula": "x +"}}}`:                      "options.values.a.formula: formula",
		`{"poll": [{"read": {}}], "values": {"a": {"formula": "b"}}}`:                        `options.values.a.formula: there is no value "b"`,
		`{"poll": [{"read": {}}], "values": {"a": {"formula": "b"}, "b": {"formula": "a"}}}`: "options.values: a, b use each other in a circle",
		`{"poll": [{"read": {}}], "values": {"x": {}}}`:                                      `options.values.x: "x" is no name`,
		`{"poll": [{"read": {}}], "values": {"a": {"unit": "°C", "quantity": "voltage"}}}`:   "options.values.a.unit",
		`{"poll": [{"read": {}}], "values": {"a": {"quantity": "beauty"}}}`:                  "options.values.a.quantity",
	} {
		_, problems := Driver{}.Shape(options(t, text))
		var got strings.Builder
		for _, p := range problems {
			got.WriteString(p.String() + "\n")
		}
		if !strings.Contains(got.String(), want) {
			t.Errorf("%s:\ngot  %swant %s", text, got.String(), want)
		}
	}
	c := drivers.SensorConfig{Bus: "b", Poll: time.Second, Options: options(t, sht)}
	if problems := drivers.CheckSensor(c, Driver{}); len(problems) != 1 || problems[0].Path != "address" {
		t.Errorf("without an address: got %v", problems)
	}
}

// Whatever the options are, they are refused or give a driver that ends, gives
// no value that is not finite, and never panics.
func FuzzShape_AnyOptionsAreRefusedOrRun(f *testing.F) {
	for _, text := range []string{sht, tmp, aht, `{"poll": [{"read": {"crc8": {"every": 1}, "len": 2}}], "values": {"a": {"formula": "1 / x"}}}`} {
		f.Add(text, []byte{0, 1, 2, 0xff})
	}
	f.Fuzz(func(t *testing.T, text string, replies []byte) {
		var m map[string]any
		if json.Unmarshal([]byte(text), &m) != nil || len(replies) == 0 {
			return
		}
		d, problems := Driver{}.Shape(m)
		if len(problems) > 0 {
			return
		}
		synctest.Test(t, func(t *testing.T) { proof.Answer(t, d, 0, replies) })
	})
}

func FuzzRead_NoReplyGivesAValueThatIsNotFinite(f *testing.F) {
	var list []drivers.Driver
	for _, text := range []string{sht, tmp, aht} {
		var m map[string]any
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			f.Fatal(err)
		}
		d, _ := Driver{}.Shape(m)
		list = append(list, d)
	}
	proof.Fuzz(f, list...)
}
