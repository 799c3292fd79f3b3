package sampler

import (
	"context"
	"errors"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/bme280"
	"github.com/tidehold/tidehold/drivers/sim"
	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/gwtest"
	"github.com/tidehold/tidehold/gateway/metrics"
)

type event struct {
	at      time.Duration
	part    string
	state   drivers.State
	cause   drivers.Cause
	samples []drivers.Sample
}

// record is a Sink that keeps everything with its time.
type record struct {
	mu     sync.Mutex
	start  time.Time
	events []event
}

func (r *record) Samples(part string, samples []drivers.Sample) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, event{at: time.Since(r.start), part: part, samples: samples})
}

func (r *record) Health(part string, h drivers.Health) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, event{at: time.Since(r.start), part: part, state: h.State, cause: h.Cause})
}

func (r *record) states(part string) []event {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []event
	for _, e := range r.events {
		if e.part == part && e.state != "" {
			out = append(out, e)
		}
	}
	return out
}

func (r *record) samples(part string) []event {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []event
	for _, e := range r.events {
		if e.part == part && e.samples != nil {
			out = append(out, e)
		}
	}
	return out
}

type rig struct {
	world  *sim.World
	record *record
}

// launch runs a sampler in the bubble; it is stopped at the end of the test.
func launch(t *testing.T, world *sim.World, sensors ...Sensor) *rig {
	t.Helper()
	r := &rig{world: world, record: &record{start: time.Now()}}
	s, err := New(sensors, r.record, clock.NewSystem(), metrics.New(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return r
}

func climate(t *testing.T, name string, address uint16, world *sim.World, change func(*drivers.SensorConfig)) Sensor {
	t.Helper()
	c := drivers.SensorConfig{Name: name, Driver: "bme280", Bus: "board", Address: []uint16{address}, Poll: time.Second}
	if change != nil {
		change(&c)
	}
	if err := world.AddSensor(c, bme280.Driver{}.Describe()); err != nil {
		t.Fatal(err)
	}
	bus, err := world.Bus("board")
	return Sensor{Config: c, Driver: bme280.Driver{}, Bus: bus, BusError: err}
}

func newWorld(t *testing.T) *sim.World {
	t.Helper()
	w := sim.NewWorld()
	if _, err := w.AddBus(drivers.BusConfig{Name: "board", Type: "sim", Seed: 42}); err != nil {
		t.Fatal(err)
	}
	return w
}

func mustDo(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestRun_FirstReadingComesAtOnceAndThenOnTheGrid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		r := launch(t, w, climate(t, "climate", 0x76, w, nil))
		time.Sleep(10500 * time.Millisecond)
		synctest.Wait()
		got := r.record.samples("climate")
		if len(got) < 10 || got[0].at > 100*time.Millisecond {
			t.Fatalf("got %d polls, the first after %v; want one at once and then each second", len(got), got[0].at)
		}
		for i := 2; i < len(got); i++ {
			if step := got[i].at - got[i-1].at; step != time.Second {
				t.Errorf("poll %d came %v after the one before; want the interval without drift", i, step)
			}
		}
		if gap := got[1].at - got[0].at; gap < 450*time.Millisecond || gap > 1600*time.Millisecond {
			t.Errorf("second poll %v after the first", gap)
		}
		if s := r.record.states("climate"); len(s) != 1 || s[0].state != drivers.OK {
			t.Errorf("health went %v; want ok once", s)
		}
		for _, s := range got[0].samples {
			if !s.Passed || !s.Live || s.Channel == "temperature" && math.Abs(s.Value-21) > 0.02 || s.Time.IsZero() {
				t.Errorf("sample %+v", s)
			}
		}
	})
}

// The acceptance of drivers.md section 11: fault within 3 polls, ok again at
// most one poll after the repair.
func TestHealth_NACKForThirtySecondsIsAFaultAndHealsWithinOnePoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		r := launch(t, w, climate(t, "climate", 0x76, w, nil))
		time.Sleep(5 * time.Second)
		mustDo(t, w.Fault("climate", "nack", ""))
		time.Sleep(30 * time.Second)
		mustDo(t, w.Fault("climate", "none", ""))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		got := r.record.states("climate")
		var states []drivers.State
		for _, e := range got {
			states = append(states, e.state)
		}
		want := []drivers.State{drivers.OK, drivers.Degraded, drivers.Fault, drivers.OK}
		if len(states) != len(want) {
			t.Fatalf("health went %v, want %v", states, want)
		}
		if got[2].at > 8100*time.Millisecond || got[2].cause != drivers.CauseNACK {
			t.Errorf("fault %s after %v; want nack within 3 polls of 5s", got[2].cause, got[2].at)
		}
		if got[3].at > 36100*time.Millisecond {
			t.Errorf("ok again after %v; want within one poll of 35s", got[3].at)
		}
	})
}

func TestHealth_AnAbsentChipIsMissingAndAskedLessAndLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := climate(t, "climate", 0x76, w, nil)
		mustDo(t, w.Fault("climate", "nack", ""))
		bus := s.Bus.(*sim.Bus)
		r := launch(t, w, s)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if got := r.record.states("climate"); len(got) != 1 || got[0].state != drivers.Missing {
			t.Fatalf("health went %v; want missing once", got)
		}
		if n := bus.Transactions(); n > 60 { // three tries each: 1+2+4...+60 s
			t.Errorf("%d transactions in 10 minutes for a chip that is not there", n)
		}
	})
}

func TestHealth_AReplugedAdapterIsBackWithinTenSecondsEvenAfterAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		r := launch(t, w, climate(t, "climate", 0x76, w, nil))
		time.Sleep(3 * time.Second)
		mustDo(t, w.Fault("board", "unplug", ""))
		time.Sleep(time.Hour)
		mustDo(t, w.Fault("board", "none", ""))
		back := time.Hour + 3*time.Second
		time.Sleep(11 * time.Second)
		synctest.Wait()
		got := r.record.states("climate")
		if len(got) != 3 || got[1].state != drivers.Missing || got[1].cause != drivers.CauseUnplugged || got[2].state != drivers.OK || got[2].at > back+10*time.Second {
			t.Errorf("health went %v", got)
		}
	})
}

func TestRun_ASlowChipDoesNotStopItsNeighbour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		r := launch(t, w, climate(t, "sick", 0x76, w, nil), climate(t, "well", 0x77, w, func(c *drivers.SensorConfig) { c.Poll = 2 * time.Second }))
		mustDo(t, w.Fault("sick", "slow", "1h"))
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if n := len(r.record.samples("well")); n < 9 {
			t.Errorf("the neighbour was read %d times in 20 s at 2 s", n)
		}
		got := r.record.states("sick")
		if last := got[len(got)-1]; last.state != drivers.Fault || last.cause != drivers.CauseTimeout {
			t.Errorf("the sick chip ended as %v", last)
		}
	})
}

// stubborn is a driver that heeds no deadline, or panics.
type stubborn struct {
	hold  time.Duration
	panic bool
}

func (d *stubborn) Describe() drivers.Info {
	return drivers.Info{Name: "stubborn", Addresses: []uint16{1}, MaxRead: 50 * time.Millisecond,
		Channels: []drivers.Channel{{Name: "x", Quantity: drivers.Voltage, Unit: "V"}}}
}
func (d *stubborn) Open(context.Context, *drivers.Handle, drivers.Options) (drivers.Device, error) {
	return d, nil
}
func (d *stubborn) Identify(context.Context) error { return nil }
func (d *stubborn) Close() error                   { return nil }
func (d *stubborn) Read(context.Context) ([]drivers.Reading, error) {
	time.Sleep(d.hold)
	if d.panic {
		panic("bug")
	}
	return []drivers.Reading{{Channel: "x", Quantity: drivers.Voltage, Value: 1}}, nil
}

func TestRun_AReadThatIgnoresItsDeadlineIsGivenUpAndTheBusGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		well := climate(t, "well", 0x76, w, nil)
		bad := Sensor{Config: drivers.SensorConfig{Name: "bad", Poll: time.Second}, Driver: &stubborn{hold: time.Minute}, Bus: well.Bus}
		r := launch(t, w, bad, well)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := len(r.record.samples("well")); n < 10 {
			t.Errorf("the neighbour was read %d times in 10 s", n)
		}
		got := r.record.states("bad")
		if last := got[len(got)-1]; last.state != drivers.Fault || last.cause != drivers.CauseStale && last.cause != drivers.CauseTimeout {
			t.Errorf("the sensor went %v; want a fault", got)
		}
	})
}

func TestRun_APanicIsTheSensorsFaultAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		well := climate(t, "well", 0x76, w, nil)
		bad := Sensor{Config: drivers.SensorConfig{Name: "bad", Poll: time.Second}, Driver: &stubborn{panic: true}, Bus: well.Bus}
		r := launch(t, w, bad, well)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		got := r.record.states("bad")
		if last := got[len(got)-1]; last.state != drivers.Fault || last.cause != drivers.CausePanic || len(r.record.samples("well")) < 5 {
			t.Errorf("the sensor went %v", got)
		}
	})
}

func TestRun_AMissingBusIsMissingAndNotFatal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := launch(t, nil, Sensor{Config: drivers.SensorConfig{Name: "x", Poll: time.Second}, Driver: bme280.Driver{}, BusError: drivers.ErrNoBus})
		time.Sleep(time.Second)
		synctest.Wait()
		if got := r.record.states("x"); len(got) != 1 || got[0].state != drivers.Missing {
			t.Errorf("health went %v; want missing", got)
		}
	})
}

func TestStep_RangeComesBeforeTheFiltersAndNaNIsNoValue(t *testing.T) {
	low, high := -40.0, 85.0
	c, err := newChannel(drivers.Channel{Name: "t", Quantity: drivers.Temperature, Unit: "°C", Decimals: 1},
		drivers.ReadingConfig{As: "inside", Range: &drivers.Range{Min: &low, Max: &high}, Filters: []any{map[string]any{"offset": 100}}})
	mustDo(t, err)
	s, err := c.step(21.26, 0)
	if err != nil || s.Value != 121.3 || s.Channel != "inside" || !s.Passed {
		t.Errorf("got %+v, %v", s, err)
	}
	for _, v := range []float64{-40.1, 85.1, math.NaN()} {
		if _, err := c.step(v, 0); !errors.Is(err, drivers.ErrOutOfRange) {
			t.Errorf("%v: got %v; want out of range", v, err)
		}
	}
}

func TestStep_TooFastAChangeIsImplausibleUntilItCouldHaveHappened(t *testing.T) {
	c, err := newChannel(drivers.Channel{Name: "t", Quantity: drivers.Temperature, Unit: "°C"}, drivers.ReadingConfig{MaxStep: 1})
	mustDo(t, err)
	for i, want := range []error{nil, drivers.ErrImplausible, drivers.ErrImplausible, nil} {
		v := 20.0
		if i > 0 {
			v = 23
		}
		if _, err := c.step(v, time.Duration(i)*time.Second); !errors.Is(err, want) {
			t.Errorf("second %d: got %v, want %v", i, err, want)
		}
	}
}

func TestNew_AFaultyFilterNamesSensorReadingAndFilter(t *testing.T) {
	c := drivers.SensorConfig{Name: "cellar", Poll: time.Second, Readings: map[string]drivers.ReadingConfig{
		"temperature": {Filters: []any{map[string]any{"median": map[string]any{"window": 0}}}}}}
	_, err := New([]Sensor{{Config: c, Driver: bme280.Driver{}}}, &record{}, clock.NewSystem(), metrics.New(), nil)
	if err == nil || !strings.Contains(err.Error(), "cellar") || !strings.Contains(err.Error(), "temperature") || !strings.Contains(err.Error(), "median.window") {
		t.Errorf("got %v", err)
	}
}

func TestNextTick_SkipsWhatIsPastAndNeverDrifts(t *testing.T) {
	for _, c := range []struct{ now, want time.Duration }{{0, 3}, {2, 3}, {3, 13}, {12, 13}, {13, 23}, {47, 53}} {
		if got := nextTick(c.now, 0, 3, 10); got != c.want {
			t.Errorf("after %d: got %d, want %d", c.now, got, c.want)
		}
	}
}

// A day of polling must take moments: the demo and the simulator rely on it.
func TestRun_ADayOfPollingTakesMoments(t *testing.T) {
	gwtest.Slow(t, "a virtual day")
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		r := launch(t, w, climate(t, "climate", 0x76, w, func(c *drivers.SensorConfig) { c.Poll = 10 * time.Second }))
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if n := len(r.record.samples("climate")); n < 8640 || n > 8642 {
			t.Errorf("%d polls in a day at 10 s", n)
		}
	})
}
