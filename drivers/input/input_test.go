package input

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/sim"
	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/metrics"
)

type record struct {
	mu     sync.Mutex
	events []drivers.InputEvent
	health []drivers.Health
}

func (r *record) Input(_ string, e drivers.InputEvent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

func (r *record) Health(_ string, h drivers.Health) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.health = append(r.health, h)
}

func (r *record) last() drivers.InputEvent {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.events[len(r.events)-1]
}

// shelf is a drivers.Memory in memory.
type shelf struct {
	mu    sync.Mutex
	state map[string][]byte
}

func (s *shelf) Load(part string) ([]byte, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.state[part]
	return b, ok, nil
}

func (s *shelf) Save(part string, state []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state[part] = state
	return nil
}

type rig struct {
	world  *sim.World
	line   *sim.Line
	record *record
	stop   func()
}

func launch(t *testing.T, c drivers.InputConfig, memory drivers.Memory) *rig {
	t.Helper()
	w := sim.NewWorld()
	bus, err := w.AddBus(drivers.BusConfig{Name: "board"})
	if err != nil {
		t.Fatal(err)
	}
	c.Name = "door"
	if c.Pin == nil && c.Encoder == nil {
		c.Pin = &drivers.PinConfig{Chip: "board", Line: "17"}
		if err := w.AddInput(c); err != nil {
			t.Fatal(err)
		}
	}
	r := &rig{world: w, line: bus.Line("17"), record: &record{}}
	in, err := New([]drivers.InputConfig{c}, w, memory, r.record, clock.NewSystem(), metrics.New(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := in.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	wg.Go(func() {
		if err := w.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	r.stop = func() { cancel(); wg.Wait() }
	t.Cleanup(r.stop)
	synctest.Wait()
	return r
}

func TestRun_BounceIsOneChangeAndAShortPulseIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := launch(t, drivers.InputConfig{Pull: drivers.PullUp, Active: "low", Debounce: 20 * time.Millisecond}, nil)
		if e := r.record.last(); !e.First || e.On || e.Count != 0 {
			t.Fatalf("at the start: %+v", e)
		}
		for range 7 { // contacts bounce for 7 ms, then stay closed
			r.line.Drive(false)
			time.Sleep(500 * time.Microsecond)
			r.line.Drive(true)
			time.Sleep(500 * time.Microsecond)
		}
		r.line.Drive(false)
		time.Sleep(25 * time.Millisecond)
		synctest.Wait()
		if e := r.record.last(); !e.On || e.Count != 1 || len(r.record.events) != 2 {
			t.Errorf("after the bounce: %+v, %d events", e, len(r.record.events))
		}
		r.line.Drive(true)
		time.Sleep(10 * time.Millisecond)
		r.line.Drive(false)
		time.Sleep(time.Second)
		synctest.Wait()
		if len(r.record.events) != 2 {
			t.Errorf("a pulse below the debounce time counted: %+v", r.record.last())
		}
	})
}

// A kernel that is late reads the level after the pulse and tells the same
// kind of edge twice. A counter asks for the kind that counts, so each is one.
func TestRun_APulseShorterThanTheKernelsDelayCounts(t *testing.T) {
	for edge, want := range map[string]drivers.Edges{"": drivers.RisingEdges, "rising": drivers.RisingEdges, "falling": drivers.FallingEdges, "both": drivers.BothEdges} {
		p := newPart(drivers.InputConfig{Edge: edge, Counter: &drivers.CounterConfig{PerUnit: 1}})
		if p.edges() != want {
			t.Errorf("edge %q: asks for %v, want %v", edge, p.edges(), want)
		}
		high := want == drivers.RisingEdges
		w := &watcher{p: p}
		if got := w.changes(drivers.LineEdge{High: high}); want != drivers.BothEdges && (len(got) != 1 || !p.counts(got[0].on)) {
			t.Errorf("edge %q: %+v; want one that counts", edge, got)
		}
	}
	for name, c := range map[string]drivers.InputConfig{
		"button": {}, "debounce": {Debounce: time.Millisecond, Counter: &drivers.CounterConfig{}},
		"min_pulse": {Counter: &drivers.CounterConfig{MinPulse: time.Millisecond}},
	} {
		if newPart(c).edges() != drivers.BothEdges {
			t.Errorf("%s needs both edges", name)
		}
	}
}

// The acceptance of drivers.md section 11: 1000 paced pulses of 5 ms counted
// exactly.
func TestRun_AThousandPacedPulsesAreCountedExactly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := &shelf{state: map[string][]byte{}}
		r := launch(t, drivers.InputConfig{Edge: "falling", Debounce: time.Millisecond,
			Counter: &drivers.CounterConfig{PerUnit: 450, Unit: "L", Rate: "L/min", Idle: 10 * time.Second, Persist: time.Minute}}, memory)
		for range 1000 {
			r.line.Drive(true)
			time.Sleep(5 * time.Millisecond)
			r.line.Drive(false)
			time.Sleep(5 * time.Millisecond)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		e := r.record.last()
		if e.Count != 1000 || e.Approximate || e.Meter.Total != 1000.0/450 {
			t.Errorf("got %+v, %+v", e, e.Meter)
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if e := r.record.last(); e.Meter.Rate != 0 {
			t.Errorf("rate %v after 20 s without a pulse; want 0", e.Meter.Rate)
		}
		r.stop()
		if got := string(memory.state["door"]); got != `{"pulses":1000}` {
			t.Errorf("saved %s", got)
		}
	})
}

func TestRun_TheTotalGoesOnAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := &shelf{state: map[string][]byte{"door": []byte(`{"pulses":41}`)}}
		r := launch(t, drivers.InputConfig{Counter: &drivers.CounterConfig{PerUnit: 1, Unit: "L"}}, memory)
		r.line.Drive(true)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if e := r.record.last(); e.Count != 42 || e.Meter.HasRate {
			t.Errorf("got %+v", e)
		}
	})
}

func TestRun_AnUnpluggedLineIsMissingAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := launch(t, drivers.InputConfig{}, nil)
		if err := r.world.Fault("door", "unplug", ""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(12 * time.Second)
		if err := r.world.Fault("door", "none", ""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(12 * time.Second)
		synctest.Wait()
		var states []drivers.State
		for _, h := range r.record.health {
			states = append(states, h.State)
		}
		if fmt.Sprint(states) != "[ok missing ok]" {
			t.Errorf("health went %v", states)
		}
	})
}

func TestRun_ASimulatedToggleAndTheOutsideBothMoveTheInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := launch(t, drivers.InputConfig{Active: "low", Simulate: map[string]any{"toggle": "20s"}}, nil)
		time.Sleep(65 * time.Second)
		synctest.Wait()
		if e := r.record.last(); e.Count != 2 || !e.On {
			t.Errorf("after 65 s of toggling each 20 s: %+v", e)
		}
		if err := r.world.Set("door", "off", ""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if e := r.record.last(); e.On || e.Count != 2 {
			t.Errorf("set off from outside: %+v", e)
		}
	})
}

func TestRun_AKnobTurnsWithinItsRange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		low, high := 0, 3
		a, b := drivers.PinConfig{Chip: "board", Line: "5"}, drivers.PinConfig{Chip: "board", Line: "6"}
		r := launch(t, drivers.InputConfig{Encoder: &drivers.EncoderConfig{A: a, B: b, Min: &low, Max: &high}}, nil)
		bus, _ := r.world.Bus("board")
		la, lb := bus.(*sim.Bus).Line("5"), bus.(*sim.Bus).Line("6")
		turn := func(detents int, forward bool) {
			first, second := la, lb
			if !forward {
				first, second = lb, la
			}
			for range detents {
				for _, high := range []bool{true, false} {
					for _, l := range []*sim.Line{first, second} {
						l.Drive(high)
						time.Sleep(time.Millisecond)
					}
				}
			}
		}
		turn(2, true)
		synctest.Wait()
		if e := r.record.last(); *e.Position != 2 {
			t.Errorf("two detents forward: %d", *e.Position)
		}
		turn(5, true)
		turn(1, false)
		synctest.Wait()
		if e := r.record.last(); *e.Position != 2 {
			t.Errorf("at the end of its range and one back: %d", *e.Position)
		}
	})
}

// Property: whatever the edges, a believed change was stable for the time, and
// believed levels alternate.
func TestDebouncer_BelievesOnlyWhatWasStable(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		d := debouncer{stable: 20 * time.Millisecond}
		now, level, since, on := time.Unix(0, 0), false, time.Unix(0, 0), false
		for range 300 {
			now = now.Add(time.Duration(rnd.IntN(40)) * time.Millisecond)
			edge := rnd.IntN(3) > 0
			got := d.settle(now)
			if edge {
				got = append(got, d.edge(!level, now)...)
			}
			for _, c := range got {
				if c.on == on || c.on != level || !c.at.Equal(since) || now.Sub(since) < d.stable {
					t.Fatalf("believed %+v; the level was %v since %v, now %v", c, level, since, now)
				}
				on = c.on
			}
			if edge {
				level, since = !level, now
			}
			if on != level && !d.pending {
				t.Fatalf("level %v since %v is neither believed nor pending", level, since)
			}
		}
	}
}

func TestRate_FallsWhenPulsesStopAndUsesTheUnitsTable(t *testing.T) {
	f, err := rateFactor("kWh", "W")
	if err != nil {
		t.Fatal(err)
	}
	m := &meter{perUnit: 1000, factor: f, idle: time.Hour}
	t0 := time.Unix(0, 0)
	m.pulse(t0)
	m.pulse(t0.Add(3600 * time.Millisecond)) // 1000 pulses per kWh, one each 3.6 s: 1 kW
	if got := m.rate(t0.Add(4 * time.Second)); got < 999.9 || got > 1000.1 {
		t.Errorf("got %v W, want 1000", got)
	}
	if got := m.rate(t0.Add(3600*time.Millisecond + 36*time.Second)); got < 99.9 || got > 100.1 {
		t.Errorf("got %v W ten intervals later, want 100", got)
	}
	if _, err := rateFactor("L", "W"); err == nil {
		t.Error("litres are no energy")
	}
}

func TestCheck_NamesThePlace(t *testing.T) {
	got := Check(drivers.InputConfig{Pull: "sideways", Counter: &drivers.CounterConfig{Unit: "L", Rate: "W"}})
	if len(got) != 4 {
		t.Errorf("got %v; want pull, pin, per_unit and rate", got)
	}
}
