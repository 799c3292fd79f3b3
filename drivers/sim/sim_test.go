package sim

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"periph.io/x/conn/v3/gpio"

	"github.com/tidehold/tidehold/drivers"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var sheet = drivers.Info{Name: "bme280", Addresses: []uint16{0x76}, Channels: []drivers.Channel{
	{Name: "temperature", Quantity: drivers.Temperature, Unit: "°C"}, {Name: "humidity", Quantity: drivers.Humidity, Unit: "%"}, {Name: "pressure", Quantity: drivers.Pressure, Unit: "hPa"}}}

func world(t *testing.T, change func(*drivers.SensorConfig)) (*World, *Bus) {
	t.Helper()
	w := NewWorld()
	b, err := w.AddBus(drivers.BusConfig{Name: "board", Type: "sim", Seed: 42})
	must(t, err)
	c := drivers.SensorConfig{Name: "climate", Driver: "bme280", Bus: "board"}
	if change != nil {
		change(&c)
	}
	must(t, w.AddSensor(c, sheet))
	return w, b
}

func tx(b *Bus, w []byte, n int) ([]byte, error) {
	r := make([]byte, n)
	err := b.Tx(context.Background(), 0x76, w, r)
	return r, err
}

func TestSignals_ParseAndMove(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.csv")
	must(t, os.WriteFile(file, []byte("seconds,value\n0,1\n10,2\n20,3\n"), 0o600))
	for _, c := range []struct {
		raw  any
		at   time.Duration
		want float64
	}{
		{21.5, 0, 21.5}, {map[string]any{"constant": 3}, time.Hour, 3},
		{map[string]any{"sine": map[string]any{"mean": 22, "amplitude": 3, "period": "10m"}}, 0, 22},
		{map[string]any{"sine": map[string]any{"mean": 22, "amplitude": 3, "period": "10m"}}, 150 * time.Second, 25},
		{map[string]any{"ramp": map[string]any{"from": 40, "to": 60, "period": "10m"}}, 5 * time.Minute, 50},
		{map[string]any{"ramp": map[string]any{"from": 40, "to": 60, "period": "10m"}}, 10 * time.Minute, 40},
		{map[string]any{"replay": file}, 9 * time.Second, 1}, {map[string]any{"replay": file}, 10 * time.Second, 2}, {map[string]any{"replay": file}, 20 * time.Second, 3},
		{map[string]any{"replay": file}, 25 * time.Second, 1},
	} {
		s, err := ParseSignal(c.raw, 1)
		if err != nil || math.Abs(s(c.at)-c.want) > 1e-9 {
			t.Errorf("%v at %v: %v; want %v", c.raw, c.at, err, c.want)
		}
	}
	for _, raw := range []any{nil, "x", map[string]any{}, map[string]any{"sine": 3}, map[string]any{"noise": 1}, map[string]any{"constant": 1, "ramp": 2},
		map[string]any{"wave": 1}, map[string]any{"replay": "/nowhere.csv"}, map[string]any{"sine": map[string]any{"mean": 1, "amplitude": 1, "period": "1m", "phase": 2}},
		map[string]any{"constant": 1, "noise": -1}, map[string]any{"ramp": map[string]any{"from": 1, "to": 2, "period": "0s"}}} {
		if _, err := ParseSignal(raw, 1); err == nil {
			t.Errorf("%v: want an error", raw)
		}
	}
}

func TestNoise_HasItsDeviationAndReplaysBySeed(t *testing.T) {
	a, b, c := Noise(Constant(10), 0.5, 1), Noise(Constant(10), 0.5, 1), Noise(Constant(10), 0.5, 2)
	sum, squares, differ := 0.0, 0.0, false
	for i := range 20000 {
		at := time.Duration(i) * time.Second
		if a(at) != b(at) {
			t.Fatal("the same seed gave another value")
		}
		differ = differ || a(at) != c(at)
		sum += a(at) - 10
		squares += (a(at) - 10) * (a(at) - 10)
	}
	if sd := math.Sqrt(squares / 20000); math.Abs(sd-0.5) > 0.02 || math.Abs(sum/20000) > 0.02 || !differ {
		t.Errorf("deviation %v, mean %v, other seed differs %v", sd, sum/20000, differ)
	}
}

func TestBME280_IsTheDatasheetsChip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := world(t, nil)
		id, err := tx(b, []byte{0xd0}, 1)
		if err != nil || id[0] != 0x60 {
			t.Fatalf("id % x, %v", id, err)
		}
		raw, _ := tx(b, []byte{0xf7}, 8)
		if raw[0] != 0x80 || raw[3] != 0x80 || raw[6] != 0x80 {
			t.Errorf("data after power-up: % x", raw)
		}
		cal, _ := tx(b, []byte{0x88}, 2)
		if cal[0] != 0x70 || cal[1] != 0x6b { // 27504
			t.Errorf("dig_T1: % x", cal)
		}
		_, err = tx(b, []byte{0xf2, 1, 0xf4, 1<<5 | 1<<2 | 1}, 0) // pairs of register and value
		must(t, err)
		if s, _ := tx(b, []byte{0xf3}, 1); s[0]&8 == 0 {
			t.Error("status must say measuring")
		}
		time.Sleep(10 * time.Millisecond)
		if s, _ := tx(b, []byte{0xf3}, 2); s[0] != 0 || s[1]&3 != 0 {
			t.Errorf("after forced mode: status and ctrl_meas % x; want idle and asleep", s)
		}
		if raw, _ := tx(b, []byte{0xfa}, 3); raw[0] == 0x80 && raw[1] == 0 || raw[2]&0xf != 0 {
			t.Errorf("temperature % x", raw)
		}
		_, err = tx(b, []byte{0xe0, 0xb6}, 0)
		must(t, err)
		if s, _ := tx(b, []byte{0xf2}, 3); s[0] != 0 || s[2] != 0 {
			t.Errorf("after reset: % x", s)
		}
	})
}

func TestBME280_HumiditySettingCountsOnlyAfterCtrlMeas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := world(t, nil)
		measure := func(w ...byte) []byte {
			_, err := tx(b, w, 0)
			must(t, err)
			time.Sleep(50 * time.Millisecond)
			r, err := tx(b, []byte{0xfd}, 2)
			must(t, err)
			return r
		}
		if h := measure(0xf4, 0x25, 0xf2, 1); h[0] != 0x80 || h[1] != 0 {
			t.Errorf("humidity % x though ctrl_hum came after ctrl_meas", h)
		}
		if h := measure(0xf4, 0x25); h[0] == 0x80 && h[1] == 0 {
			t.Error("humidity must be measured now")
		}
	})
}

func TestBME280_NormalModeGoesOnAndFilters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, b := world(t, nil)
		_, err := tx(b, []byte{0xf5, 4<<5 | 2<<2, 0xf4, 1<<5 | 3}, 0) // 500 ms, coefficient 4
		must(t, err)
		raw := func() int {
			r, err := tx(b, []byte{0xfa}, 3)
			must(t, err)
			return int(r[0])<<12 | int(r[1])<<4 | int(r[2])>>4
		}
		time.Sleep(100 * time.Millisecond)
		first := raw()
		must(t, w.Set("climate", "temperature", "30"))
		time.Sleep(500 * time.Millisecond)
		second := raw()
		time.Sleep(time.Minute)
		for range 100 { // the chip measures while nobody looks; ours does when asked
			raw()
			time.Sleep(500 * time.Millisecond)
		}
		last := raw()
		if step := float64(second-first) / float64(last-first); math.Abs(step-0.25) > 0.01 {
			t.Errorf("first step %v of the way, want a quarter", step)
		}
	})
}

func TestFaults_DoWhatTheirNameSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, b := world(t, nil)
		for fault, want := range map[string]error{"nack": drivers.ErrNACK, "stuck": drivers.ErrTimeout, "unplug": drivers.ErrNACK} {
			must(t, w.Fault("climate", fault, ""))
			if _, err := tx(b, []byte{0xd0}, 1); !errors.Is(err, want) {
				t.Errorf("%s: %v", fault, err)
			}
		}
		must(t, w.Fault("climate", "nack", "3"))
		failed := 0
		for range 9 {
			if _, err := tx(b, []byte{0xd0}, 1); err != nil {
				failed++
			}
		}
		if failed != 3 {
			t.Errorf("every third: %d of 9 failed", failed)
		}
		must(t, w.Fault("climate", "flip", ""))
		if id, _ := tx(b, []byte{0xd0}, 1); id[0] != 0x70 {
			t.Errorf("flip: % x", id)
		}
		must(t, w.Fault("climate", "wrong-id", ""))
		if id, _ := tx(b, []byte{0xd0}, 1); id[0] == 0x60 {
			t.Errorf("wrong-id: % x", id)
		}
		must(t, w.Fault("climate", "slow", "200ms"))
		start := time.Now()
		if id, err := tx(b, []byte{0xd0}, 1); err != nil || id[0] != 0x60 || time.Since(start) != 200*time.Millisecond {
			t.Errorf("slow: % x, %v after %v", id, err, time.Since(start))
		}
		must(t, w.Fault("climate", "none", ""))
		_, err := tx(b, []byte{0xf2, 1}, 0)
		must(t, err)
		must(t, w.Fault("climate", "power-loss", ""))
		if r, _ := tx(b, []byte{0xf2}, 1); r[0] != 0 {
			t.Error("power-loss must forget ctrl_hum")
		}
		must(t, w.Fault("board", "unplug", ""))
		if _, err := tx(b, []byte{0xd0}, 1); !errors.Is(err, drivers.ErrUnplugged) {
			t.Errorf("unplugged bus: %v", err)
		}
		must(t, w.Fault("board", "none", ""))
		if _, err := tx(b, []byte{0xd0}, 1); err != nil {
			t.Errorf("plugged again: %v", err)
		}
	})
}

func TestWorld_IsSeenAndSetInTheConfiguredUnitsAndNames(t *testing.T) {
	f := drivers.Unit("°F")
	w, _ := world(t, func(c *drivers.SensorConfig) {
		c.Readings = map[string]drivers.ReadingConfig{"temperature": {As: "outside", Unit: &f}}
		c.Simulate = map[string]any{"temperature": 50, "humidity": 33}
	})
	got, err := w.Get("climate", "")
	if err != nil || got["outside"] != 50.0 || got["humidity"] != 33.0 || got["pressure"] != 1013.25 {
		t.Errorf("got %v, %v", got, err)
	}
	must(t, w.Set("climate", "outside", "68.5"))
	if got, err := w.Get("climate", "outside"); err != nil || got["outside"] != 68.5 {
		t.Errorf("got %v, %v", got, err)
	}
	must(t, w.Set("climate", "temperature", "auto"))
	if got, err := w.Get("climate", "temperature"); err != nil || got["temperature"] != 50.0 {
		t.Errorf("after auto: %v, %v", got, err)
	}
}

func TestWorld_MistakesAreToldWithWhatThereIs(t *testing.T) {
	w, _ := world(t, nil)
	_, errGet := w.Get("x", "")
	for want, err := range map[string]error{
		"there are board, climate": errGet,
		"there are humidity":       w.Set("climate", "wind", "1"),
		"want a number":            w.Set("climate", "temperature", "warm"),
		"unknown fault":            w.Fault("climate", "broken", ""),
		"every n-th":               w.Fault("climate", "nack", "0"),
		"want a duration":          w.Fault("climate", "slow", "much"),
		"a bus knows":              w.Fault("board", "nack", ""),
		"no values to set":         w.Set("board", "", "1"),
		"is taken":                 w.AddSensor(drivers.SensorConfig{Name: "b", Driver: "bme280", Bus: "board"}, sheet),
		"no simulated chip":        w.AddSensor(drivers.SensorConfig{Name: "c", Driver: "bmx", Bus: "board"}, sheet),
		"no such bus":              w.AddSensor(drivers.SensorConfig{Name: "c", Driver: "bme280", Bus: "x"}, sheet),
		"measures no":              w.AddSensor(drivers.SensorConfig{Name: "c", Driver: "bme280", Bus: "board", Simulate: map[string]any{"wind": 1}}, sheet),
		"toggle":                   w.AddInput(drivers.InputConfig{Name: "d", Pin: &drivers.PinConfig{Chip: "board", Line: "1"}, Simulate: map[string]any{"toggle": 1.5}}),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v; want %q", err, want)
		}
	}
}

func TestLine_IsOnePartsAtATimeAndKeepsItsLevelWhenGivenBack(t *testing.T) {
	w, b := world(t, nil)
	pin := drivers.PinConfig{Chip: "board", Line: "27"}
	out, err := w.Output(pin, drivers.High)
	must(t, err)
	if _, err := w.Input(pin, "", drivers.BothEdges); !errors.Is(err, drivers.ErrNotClaimed) || !strings.Contains(err.Error(), "output") {
		t.Errorf("a second claim: %v", err)
	}
	must(t, out.Close())
	if !b.Line("27").Level() {
		t.Error("the level must stay")
	}
	out, err = w.Output(pin, drivers.Keep)
	must(t, err)
	if high, err := out.Read(); err != nil || !high {
		t.Errorf("kept level: %v, %v", high, err)
	}
	if _, err := w.Output(drivers.PinConfig{Chip: "x", Line: "1"}, drivers.Low); !errors.Is(err, drivers.ErrNoBus) {
		t.Errorf("unknown chip: %v", err)
	}
}

func TestLine_EdgesCarryTheirTimeAndAFullQueueShowsAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, b := world(t, nil)
		in, err := w.Input(drivers.PinConfig{Chip: "board", Line: "17"}, drivers.PullUp, drivers.BothEdges)
		must(t, err)
		if high, err := in.Read(); err != nil || !high {
			t.Errorf("pulled up: %v, %v", high, err)
		}
		start := time.Now()
		for range (edgesMax + 10) / 2 {
			b.Line("17").Drive(false)
			time.Sleep(time.Millisecond)
			b.Line("17").Drive(true)
		}
		e, err := in.Wait(t.Context())
		if err != nil || e.Seq != 11 || e.Time.Sub(start) != 5*time.Millisecond {
			t.Errorf("first edge left: %+v, %v", e, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for err == nil {
			_, err = in.Wait(ctx)
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		must(t, in.Close())
		if _, err := in.Wait(t.Context()); err == nil {
			t.Error("a closed line gives no edges")
		}
	})
}

// The face that periph's own drivers see.
func TestLine_IsAPeriphPin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := world(t, nil)
		var p gpio.PinIO = b.Line("GPIO5")
		must(t, p.In(gpio.PullUp, gpio.FallingEdge))
		if p.Read() != gpio.High || p.Pull() != gpio.PullUp || p.Number() != 5 || p.Name() != "GPIO5" || p.String() != "board/GPIO5" {
			t.Errorf("pin %v: %v %v %d", p, p.Read(), p.Pull(), p.Number())
		}
		if p.WaitForEdge(time.Second) {
			t.Error("no edge came")
		}
		done := make(chan bool)
		go func() { done <- p.WaitForEdge(-1) }()
		synctest.Wait()
		b.Line("GPIO5").Drive(false)
		if !<-done {
			t.Error("an edge came")
		}
		b.Line("GPIO5").Drive(true) // rising: not asked for
		go func() { done <- p.WaitForEdge(-1) }()
		synctest.Wait()
		must(t, p.Halt())
		if <-done {
			t.Error("Halt ends the wait without an edge")
		}
		must(t, p.Out(gpio.High))
		if p.Read() != gpio.High || b.Line("GPIO5").Function() != "Out/High" {
			t.Error("reading an output must not change it")
		}
		if p.PWM(gpio.DutyHalf, 0) == nil {
			t.Error("there is no PWM")
		}
	})
}
