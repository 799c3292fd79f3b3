package output

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/sim"
	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
)

type record struct {
	mu      sync.Mutex
	reports map[string][]drivers.OutputReport
	health  []drivers.Health
}

func (r *record) Output(part string, rep drivers.OutputReport) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reports[part] = append(r.reports[part], rep)
}

func (r *record) Health(_ string, h drivers.Health) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.health = append(r.health, h)
}

func (r *record) last(part string) drivers.OutputReport {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.reports[part]
	return list[len(list)-1]
}

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
	record *record
	out    *Outputs
	stop   func()
}

func board1(t *testing.T) *sim.World {
	t.Helper()
	w := sim.NewWorld()
	if _, err := w.AddBus(drivers.BusConfig{Name: "board"}); err != nil {
		t.Fatal(err)
	}
	return w
}

func launch(t *testing.T, w *sim.World, memory drivers.Memory, outputs ...drivers.OutputConfig) *rig {
	t.Helper()
	r := &rig{world: w, record: &record{reports: map[string][]drivers.OutputReport{}}}
	for i := range outputs {
		outputs[i].Pin = &drivers.PinConfig{Chip: "board", Line: fmt.Sprint(27 + i)}
		_ = w.AddOutput(outputs[i]) // a restart knows it already
	}
	var err error
	if r.out, err = New(outputs, w, memory, r.record, clock.NewSystem(), metrics.New(), nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := r.out.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	r.stop = func() { cancel(); wg.Wait() }
	t.Cleanup(r.stop)
	<-r.out.Ready()
	synctest.Wait()
	return r
}

func (r *rig) set(t *testing.T, w drivers.Wish) {
	t.Helper()
	if err := r.out.Set(w); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
}

func (r *rig) pin(t *testing.T, part string) bool {
	t.Helper()
	v, err := r.world.Get(part, "")
	if err != nil {
		t.Fatal(err)
	}
	return v["level"] == 1
}

func TestRun_ReportsWhatStandsAtThePin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := board1(t)
		r := launch(t, w, nil, drivers.OutputConfig{Name: "fan", Active: "low"})
		if !r.pin(t, "fan") || r.record.last("fan").On || r.record.last("fan").Cause != "start" {
			t.Fatalf("at the start: pin %v, %+v", r.pin(t, "fan"), r.record.last("fan"))
		}
		r.set(t, drivers.Wish{Part: "fan", On: true, Cause: "desired"})
		if got := r.record.last("fan"); r.pin(t, "fan") || !got.On || got.Cause != "desired" || got.Refused != nil {
			t.Errorf("after the wish: %+v", got)
		}
		if err := w.Fault("fan", "stuck", ""); err != nil {
			t.Fatal(err)
		}
		r.set(t, drivers.Wish{Part: "fan", On: false, Cause: "desired"})
		got := r.record.last("fan")
		if !got.On || got.Refused == nil || got.Refused.Why != "fault" {
			t.Errorf("a relay that stays on is reported as %+v", got)
		}
		if h := r.record.health[len(r.record.health)-1]; h.State != drivers.Fault || h.Cause != drivers.CauseReadBack || !h.Simulated {
			t.Errorf("health %+v", h)
		}
		if err := w.Fault("fan", "none", ""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if got := r.record.last("fan"); got.On || got.Refused != nil {
			t.Errorf("after the repair: %+v", got)
		}
	})
}

// The acceptance of drivers.md section 11: no transition of an active-low line
// at start, stop and restart while the state does not change; off within 1 s of
// the stop.
func TestRun_StartStopAndRestartMakeNoGlitch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := board1(t)
		bus, err := w.Bus("board")
		if err != nil {
			t.Fatal(err)
		}
		line := bus.(*sim.Bus).Line("27")
		line.Drive(true) // an external pull-up holds the relay off
		before := line.Moves()
		for range 3 {
			r := launch(t, w, nil, drivers.OutputConfig{Name: "relay", Active: "low"})
			time.Sleep(time.Second)
			r.stop()
		}
		if n := line.Moves() - before; n > 0 {
			t.Errorf("the line moved %d times", n)
		}
		r := launch(t, w, nil, drivers.OutputConfig{Name: "relay", Active: "low"})
		r.set(t, drivers.Wish{Part: "relay", On: true, Cause: "desired"})
		if line.Level() {
			t.Fatal("relay is not on")
		}
		start := time.Now()
		r.stop()
		if !line.Level() || time.Since(start) > time.Second {
			t.Errorf("after the stop: level %v, %v", line.Level(), time.Since(start))
		}
	})
}

// Outputs are opened one after the other: one whose turn has not come is not
// missing.
func TestRun_NoOutputIsMissingBeforeItsLineWasAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := launch(t, board1(t), nil, drivers.OutputConfig{Name: "relay"}, drivers.OutputConfig{Name: "pump"})
		if len(r.record.health) != 2 || r.record.health[0].State != drivers.OK || r.record.health[1].State != drivers.OK {
			t.Errorf("healths at the start: %+v", r.record.health)
		}
	})
}

func TestRun_MaxOnAndMinOffAreDoneByTimeAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := launch(t, board1(t), nil, drivers.OutputConfig{Name: "fan", MinOn: 2 * time.Second, MaxOn: 30 * time.Minute})
		r.set(t, drivers.Wish{Part: "fan", On: true, Cause: "desired"})
		r.set(t, drivers.Wish{Part: "fan", On: false, Cause: "desired"})
		got := r.record.last("fan")
		if !got.On || got.Refused == nil || got.Refused.Why != "min_on" || time.Until(got.Refused.Until) > 2*time.Second {
			t.Fatalf("got %+v", got)
		}
		time.Sleep(2100 * time.Millisecond)
		synctest.Wait()
		if got := r.record.last("fan"); got.On || got.Refused != nil {
			t.Errorf("after min_on: %+v", got)
		}
		r.set(t, drivers.Wish{Part: "fan", On: true, Cause: "rule/hot"})
		time.Sleep(31 * time.Minute)
		synctest.Wait()
		if got := r.record.last("fan"); got.On || got.Cause != "max_on" || r.pin(t, "fan") {
			t.Errorf("after max_on: %+v", got)
		}
	})
}

func TestRun_RestoreBringsBackTheLevelBeforeTheStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, memory := board1(t), &shelf{state: map[string][]byte{}}
		c := drivers.OutputConfig{Name: "lamp", OnStart: "restore"}
		r := launch(t, w, memory, c)
		r.set(t, drivers.Wish{Part: "lamp", On: true, Cause: "desired"})
		r.stop()
		if r.pin(t, "lamp") {
			t.Error("on_stop is off")
		}
		var k kept
		if err := json.Unmarshal(memory.state["lamp"], &k); err != nil || !k.On {
			t.Fatalf("kept %s", memory.state["lamp"])
		}
		time.Sleep(time.Hour)
		r = launch(t, w, memory, c)
		if got := r.record.last("lamp"); !got.On || !r.pin(t, "lamp") {
			t.Errorf("after the restart: %+v", got)
		}
	})
}

func TestRun_GuardsFollowReadingsAndTheirHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := launch(t, board1(t), nil, drivers.OutputConfig{Name: "pump", Require: []string{"cellar.temperature > 2", "not alarm"}})
		r.set(t, drivers.Wish{Part: "pump", On: true, Cause: "desired"})
		if got := r.record.last("pump"); got.On || got.Refused.Why != "require" {
			t.Fatalf("guards unknown: %+v", got)
		}
		r.out.Observe("cellar", map[string]float64{"temperature": 5})
		r.out.Observe("alarm", map[string]float64{"on": 0})
		synctest.Wait()
		if got := r.record.last("pump"); !got.On {
			t.Errorf("guards hold: %+v", got)
		}
		r.out.ObserveHealth("cellar", drivers.Health{State: drivers.Fault})
		synctest.Wait()
		if got := r.record.last("pump"); got.On || got.Refused.Why != "fault" {
			t.Errorf("sensor faulty: %+v", got)
		}
		r.out.ObserveHealth("cellar", drivers.Health{State: drivers.OK})
		synctest.Wait()
		if got := r.record.last("pump"); !got.On {
			t.Errorf("sensor well again: %+v", got)
		}
	})
}

func TestRun_AMissingChipIsMissingAndTakesTheWishWhenItComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := board1(t)
		if err := w.Fault("board", "unplug", ""); err != nil {
			t.Fatal(err)
		}
		r := launch(t, w, nil, drivers.OutputConfig{Name: "fan"})
		r.set(t, drivers.Wish{Part: "fan", On: true, Cause: "desired"})
		if got := r.record.last("fan"); got.Known || got.Refused == nil || got.Refused.Why != "missing" {
			t.Fatalf("got %+v", got)
		}
		if err := w.Fault("board", "none", ""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if got := r.record.last("fan"); !got.Known || !got.On || got.Refused != nil {
			t.Errorf("after it came: %+v", got)
		}
	})
}

func TestSet_UnknownOutputIsNotFound(t *testing.T) {
	o, err := New(nil, sim.NewWorld(), nil, &record{}, clock.NewSystem(), metrics.New(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Set(drivers.Wish{Part: "x"}); iot.CodeOf(err) != iot.NotFound {
		t.Errorf("got %v", err)
	}
}

func TestSafe_BringsLinesToOnStop(t *testing.T) {
	w := board1(t)
	c := drivers.OutputConfig{Name: "relay", Active: "low", Pin: &drivers.PinConfig{Chip: "board", Line: "3"}}
	bus, _ := w.Bus("board")
	if err := Safe([]drivers.OutputConfig{c}, w); err != nil || !bus.(*sim.Bus).Line("3").Level() {
		t.Errorf("got %v, level %v", err, bus.(*sim.Bus).Line("3").Level())
	}
}

func TestParseGuard_TakesComparisonsAndInputs(t *testing.T) {
	for text, want := range map[string]guard{
		"cellar.temperature > 2":     {"cellar", "temperature", ">", 2},
		"cellar.temperature >= -2.5": {"cellar", "temperature", ">=", -2.5},
		"a.b!=0":                     {"a", "b", "!=", 0},
		"door":                       {"door", "on", "==", 1},
		"not door":                   {"door", "on", "==", 0},
	} {
		if got, err := parseGuard(text); err != nil || got != want {
			t.Errorf("%q: got %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "a >", "a > 1", "a.b > x", "a b", "a.b"} {
		if got, err := parseGuard(text); err == nil {
			t.Errorf("%q: got %+v; want an error", text, got)
		}
	}
}

// hung is a line whose writes block, as those of a dead chip of an expander do.
type hung struct {
	drivers.Lines
	hold chan struct{}
}

func (h hung) Output(pin drivers.PinConfig, l drivers.Level) (drivers.OutputLine, error) {
	line, err := h.Lines.Output(pin, l)
	return slow{line, h.hold}, err
}

type slow struct {
	drivers.OutputLine
	hold chan struct{}
}

func (s slow) Write(high bool) error {
	<-s.hold
	return s.OutputLine.Write(high)
}

func TestAlive_TellsALoopThatHangsAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, hold := board1(t), make(chan struct{})
		out, err := New([]drivers.OutputConfig{{Name: "fan", Pin: &drivers.PinConfig{Chip: "board", Line: "27"}}}, hung{w, hold}, nil,
			&record{reports: map[string][]drivers.OutputReport{}}, clock.NewSystem(), metrics.New(), nil)
		if err != nil {
			t.Fatal(err)
		}
		ask := func() error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			return out.Alive(ctx)
		}
		if err := ask(); err != nil {
			t.Errorf("before Run: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- out.Run(ctx) }()
		synctest.Wait()
		if err := ask(); err != nil {
			t.Errorf("idle: %v", err)
		}
		if err := out.Set(drivers.Wish{Part: "fan", On: true}); err != nil {
			t.Fatal(err)
		}
		if err := ask(); err == nil {
			t.Error("a write that hangs was not noticed")
		}
		close(hold)
		if err := ask(); err != nil {
			t.Errorf("after the write: %v", err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := ask(); err != nil {
			t.Errorf("after Run: %v", err)
		}
	})
}

// Goal: a daemon that is started again and again never makes a pump run longer
// than max_on.
func TestRun_MaxOnCountsOverARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, memory := board1(t), &shelf{state: map[string][]byte{}}
		c := drivers.OutputConfig{Name: "pump", OnStart: "keep", OnStop: "keep", MaxOn: time.Hour}
		r := launch(t, w, memory, c)
		r.set(t, drivers.Wish{Part: "pump", On: true, Cause: "desired"})
		for range 5 {
			time.Sleep(10 * time.Minute)
			r.stop()
			r = launch(t, w, memory, c)
			if !r.record.last("pump").On {
				t.Fatal("off before its time")
			}
		}
		time.Sleep(11 * time.Minute)
		synctest.Wait()
		if rep := r.record.last("pump"); rep.On || rep.Cause != causeMaxOn {
			t.Errorf("after 61 minutes: %+v", rep)
		}
	})
}
