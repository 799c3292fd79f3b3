package drivers

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestConvert_KnownValues(t *testing.T) {
	for _, c := range []struct {
		q    Quantity
		si   float64
		unit Unit
		want float64
	}{
		{Temperature, 100, "°F", 212}, {Temperature, -273.15, "K", 0}, {Temperature, 21.5, "°C", 21.5},
		{Pressure, 101325, "hPa", 1013.25}, {Pressure, 133.322387415, "mmHg", 1}, {Pressure, 1e5, "bar", 1}, {Pressure, 1e3, "kPa", 1},
		{Humidity, 0.5, "%", 50}, {Ratio, 1, "%", 100}, {Voltage, 1.5, "mV", 1500}, {Current, 0.1, "mA", 100}, {Power, 1500, "kW", 1.5},
		{Energy, 3.6e6, "kWh", 1}, {Energy, 3600, "Wh", 1}, {Volume, 0.001, "L", 1}, {Flow, 1.0 / 60000, "L/min", 1}, {Flow, 1, "m³/h", 3600},
		{Length, 1, "mm", 1000}, {Length, 1, "cm", 100}, {Concentration, 1, "ppb", 1000}, {Illuminance, 7, "lx", 7},
	} {
		got, err := Convert(c.q, c.si, c.unit)
		if err != nil || math.Abs(got-c.want) > 1e-9*max(1, math.Abs(c.want)) {
			t.Errorf("%v %s in %s: got %v, %v; want %v", c.si, c.q, c.unit, got, err, c.want)
		}
	}
}

func TestConvert_AndBackIsTheSameForEveryUnit(t *testing.T) {
	for q := range conversions {
		for _, u := range Units(q) {
			for _, si := range []float64{-40, 0, 0.37, 21.5, 101325} {
				v, err := Convert(q, si, u)
				if err != nil {
					t.Fatal(err)
				}
				back, err := ToSI(q, v, u)
				if err != nil || math.Abs(back-si) > 1e-9*max(1, math.Abs(si)) {
					t.Errorf("%v %s by %q: back %v, %v", si, q, u, back, err)
				}
			}
		}
	}
}

func TestConvert_AUnitOfAnotherQuantityListsTheRightOnes(t *testing.T) {
	_, err := Convert(Temperature, 1, "hPa")
	if err == nil || !strings.Contains(err.Error(), "°C, °F, K") {
		t.Errorf("got %v", err)
	}
	if got := QuantityOf("hPa"); len(got) != 1 || got[0] != Pressure {
		t.Errorf("hPa measures %v", got)
	}
}

// script is a bus that answers a list of errors, then well.
type script struct {
	errs []error
	txs  int
	hold bool
}

func (s *script) Name() string    { return "main" }
func (s *script) Simulated() bool { return false }
func (s *script) Tx(ctx context.Context, _ uint16, _, _ []byte) error {
	s.txs++
	if s.hold {
		<-ctx.Done()
		return ErrTimeout
	}
	if len(s.errs) == 0 {
		return nil
	}
	err := s.errs[0]
	s.errs = s.errs[1:]
	return err
}

func TestHandle_RetriesByKindOfFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			err   error
			times int
			tries int
			ok    bool
		}{
			{ErrNACK, 2, 3, true}, {ErrNACK, 3, 3, false}, {ErrTimeout, 1, 2, true}, {ErrTimeout, 2, 2, false}, {ErrBusStuck, 1, 1, false}, {ErrUnplugged, 1, 1, false},
		} {
			s := &script{}
			for range c.times {
				s.errs = append(s.errs, fmt.Errorf("kernel: %w", c.err))
			}
			h := NewHandle(s, 0x76)
			start := time.Now()
			err := h.Do(t.Context(), func() error { return h.Tx(0x76, []byte{1}, nil) })
			if (err == nil) != c.ok || s.txs != c.tries || !c.ok && !errors.Is(err, c.err) {
				t.Errorf("%v x%d: %v after %d tries; want ok=%v after %d", c.err, c.times, err, s.txs, c.ok, c.tries)
			}
			if c.err == ErrNACK && time.Since(start) != 6*time.Millisecond {
				t.Errorf("pauses took %v, want 1 and 5 ms", time.Since(start))
			}
		}
	})
}

func TestHandle_GivesBackTheCauseThatADriverFormattedAway(t *testing.T) {
	h := NewHandle(&script{errs: []error{ErrBusStuck}}, 0x76)
	err := h.Do(t.Context(), func() error {
		if err := h.Conn().Tx([]byte{1}, nil); err != nil {
			return fmt.Errorf("chip: %v", err) // as periph's drivers do
		}
		return nil
	})
	if !errors.Is(err, ErrBusStuck) || !strings.HasPrefix(err.Error(), "chip: ") {
		t.Errorf("got %v", err)
	}
	if err := h.Do(t.Context(), func() error { return errors.New("chip: nonsense") }); CauseOf(err) != CauseOther {
		t.Errorf("the cause of the Do before stuck: %v", err)
	}
}

func TestHandle_ReachesOneAddressInsideDoAndEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		h := NewHandle(s, 0x76)
		if err := h.Tx(0x76, []byte{1}, nil); err == nil || s.txs != 0 {
			t.Errorf("outside of Do: %v", err)
		}
		if err := h.Do(t.Context(), func() error { return h.Tx(0x77, []byte{1}, nil) }); err == nil || s.txs != 0 {
			t.Errorf("another address: %v", err)
		}
		s.hold = true
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		start := time.Now()
		err := h.Do(ctx, func() error { return h.Tx(0x76, []byte{1}, nil) })
		if !errors.Is(err, ErrTimeout) || time.Since(start) != 50*time.Millisecond {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
	})
}

func TestTracker_OneFailureIsDegradedThreeAreAFault(t *testing.T) {
	wall := time.Unix(0, 0)
	tr := NewTracker(10*time.Second, false, 0, wall)
	steps := []struct {
		err  error
		want State
	}{{nil, OK}, {ErrCRC, Degraded}, {nil, OK}, {ErrCRC, Degraded}, {ErrCRC, Degraded}, {ErrCRC, Fault}, {ErrCRC, Fault}, {nil, OK}, {ErrWrongChip, Fault}, {nil, OK}, {ErrUnplugged, Missing}}
	for i, s := range steps {
		now := time.Duration(i) * 10 * time.Second
		before := tr.Health()
		changed := false
		if s.err == nil {
			changed = tr.Value(now, wall)
		} else {
			changed = tr.Failure(s.err, now, wall)
		}
		after := tr.Health()
		if after.State != s.want || changed != (before.State != after.State || before.Cause != after.Cause) {
			t.Errorf("step %d: %+v, changed %v; want %s", i, after, changed, s.want)
		}
		if s.err != nil && after.Cause != CauseOf(s.err) {
			t.Errorf("step %d: cause %s", i, after.Cause)
		}
	}
}

func TestTracker_WaitGrowsForMissingPartsOnly(t *testing.T) {
	tr := NewTracker(10*time.Second, false, 0, time.Time{})
	var waits []time.Duration
	for range 6 {
		tr.Failure(ErrNACK, 0, time.Time{})
		waits = append(waits, tr.Wait())
	}
	if got := fmt.Sprint(waits); got != "[10s 20s 40s 1m0s 1m0s 1m0s]" {
		t.Errorf("absent chip: %s", got)
	}
	tr.Value(0, time.Time{})
	if tr.Wait() != 10*time.Second {
		t.Errorf("after a value: %v", tr.Wait())
	}
	tr.Failure(ErrUnplugged, 0, time.Time{})
	if tr.Wait() != replugMax {
		t.Errorf("unplugged: %v, want %v", tr.Wait(), replugMax)
	}
}

func TestTracker_SilenceForThreeIntervalsIsStale(t *testing.T) {
	tr := NewTracker(time.Second, false, 0, time.Time{})
	tr.Value(0, time.Time{})
	if tr.Silence(2*time.Second, time.Time{}) || !tr.Silence(3*time.Second, time.Time{}) || tr.Health().Cause != CauseStale {
		t.Errorf("got %+v", tr.Health())
	}
}

var schema = []Option{
	{Name: "n", Kind: Integer, Default: int64(1), Allowed: []any{int64(1), int64(2)}},
	{Name: "f", Kind: Number, Default: 0.5, Min: 0, Max: 1},
	{Name: "b", Kind: Bool, Default: false},
	{Name: "t", Kind: Text, Default: "x"},
	{Name: "d", Kind: Duration, Default: time.Second, Min: 0.1, Max: 10},
	{Name: "g", Kind: Group, Members: []Option{{Name: "m", Kind: Integer, Default: int64(7)}}},
}

func TestCheckOptions_FillsDefaultsAndReadsEveryKind(t *testing.T) {
	o, problems := CheckOptions(schema, nil)
	if len(problems) > 0 || o.Int("n") != 1 || o.Float("f") != 0.5 || o.Bool("b") || o.Text("t") != "x" || o.Duration("d") != time.Second || o.Group("g").Int("m") != 7 {
		t.Errorf("defaults: %v, %v", o, problems)
	}
	o, problems = CheckOptions(schema, map[string]any{"n": 2, "f": 1, "b": true, "t": "y", "d": "5s", "g": map[string]any{"m": 9}})
	if len(problems) > 0 || o.Int("n") != 2 || o.Float("f") != 1 || !o.Bool("b") || o.Text("t") != "y" || o.Duration("d") != 5*time.Second || o.Group("g").Int("m") != 9 {
		t.Errorf("given: %v, %v", o, problems)
	}
}

func TestCheckOptions_ProblemsLeadToTheirPlace(t *testing.T) {
	_, problems := CheckOptions(schema, map[string]any{"n": 3, "f": 2, "b": 1, "t": 1, "d": "1h", "g": map[string]any{"x": 1}, "z": 1})
	var paths []string
	for _, p := range problems {
		paths = append(paths, p.Path)
	}
	if got := strings.Join(paths, " "); got != "options.n options.f options.b options.t options.d options.g.x options.z" {
		t.Errorf("got %s", got)
	}
}

// thermo is a driver for CheckSensor.
type thermo struct{ Driver }

func (thermo) Describe() Info {
	return Info{Name: "thermo", Bus: "i2c", Addresses: []uint16{0x48}, Channels: []Channel{{Name: "temperature", Quantity: Temperature}, {Name: "humidity", Quantity: Humidity}}}
}

func TestCheckSensor_ProblemsLeadToTheirPlace(t *testing.T) {
	hPa, seven, low := Unit("hPa"), 10, 5.0
	c := SensorConfig{Address: []uint16{0x48, 0x50}, Poll: time.Millisecond, Options: map[string]any{"x": 1}, Readings: map[string]ReadingConfig{
		"temperature": {Unit: &hPa, As: "humidity", Decimals: &seven, Range: &Range{Min: &low, Max: &low}, MaxStep: -1},
		"humidity":    {As: "ts"}, "pressure": {},
	}}
	var paths []string
	for _, p := range CheckSensor(c, thermo{}) {
		paths = append(paths, p.Path)
	}
	want := "options.x address[1] poll readings.humidity.as readings.pressure readings.temperature.unit readings.temperature.decimals readings.temperature.range readings.temperature.max_step"
	if got := strings.Join(paths, " "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if problems := CheckSensor(SensorConfig{Poll: time.Second}, thermo{}); len(problems) > 0 {
		t.Errorf("the shortest entry: %v", problems)
	}
}

func TestCauseOf_EveryErrorHasItsCause(t *testing.T) {
	for _, c := range causes {
		if got := CauseOf(fmt.Errorf("x: %w", c.err)); got != c.cause {
			t.Errorf("%v: %s, want %s", c.err, got, c.cause)
		}
	}
	if CauseOf(errors.New("x")) != CauseOther {
		t.Error("an unknown error is just an error")
	}
}

func TestSplitPort_TakesTheNameOfAPortApart(t *testing.T) {
	for name, want := range map[string]string{
		"main/0x70/3": "main 112 3", "main/0x70/3/0x71/0": "main/0x70/3 113 0", "a/112/7": "a 112 7",
		"main": "", "main/3": "", "main/0x70/8": "", "main/0x80/1": "", "/0x70/1": "", "main/x/1": "", "": "",
	} {
		bus, addr, port, ok := SplitPort(name)
		if got := fmt.Sprint(bus, " ", addr, " ", port); ok != (want != "") || ok && got != want {
			t.Errorf("%q: got %q %v, want %q", name, got, ok, want)
		}
	}
	if got := RootBus("main/0x70/3/0x71/0"); got != "main" {
		t.Errorf("root: %q", got)
	}
}
