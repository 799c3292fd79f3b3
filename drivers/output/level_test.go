package output

import (
	"context"
	"errors"
	"math"
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

func bound(low, high float64) *drivers.Range { return &drivers.Range{Min: &low, Max: &high} }

// fan runs one PWM output on a simulated channel.
func fan(t *testing.T, w *sim.World, memory drivers.Memory, change func(*drivers.OutputConfig)) *rig {
	t.Helper()
	c := drivers.OutputConfig{Name: "fan", PWM: &drivers.PWMConfig{Chip: "board", Channel: 2, Frequency: 25_000}}
	if change != nil {
		change(&c)
	}
	_ = w.AddOutput(c) // a restart knows it already
	r := &rig{world: w, record: &record{reports: map[string][]drivers.OutputReport{}}}
	var err error
	if r.out, err = New([]drivers.OutputConfig{c}, w, memory, r.record, clock.NewSystem(), metrics.New(), nil); err != nil {
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

func (r *rig) pinLevel(t *testing.T) float64 {
	t.Helper()
	values, err := r.world.Get("fan", "")
	if err != nil {
		t.Fatal(err)
	}
	return values["level"].(float64)
}

func (r *rig) wishLevel(t *testing.T, level float64) {
	t.Helper()
	r.set(t, drivers.Wish{Part: "fan", Level: &level, Cause: "desired"})
}

func TestPWM_AWishedLevelIsSetAndReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := fan(t, board1(t), nil, nil)
		for _, level := range []float64{40, 70.5, 0} {
			r.wishLevel(t, level)
			rep := r.record.last("fan")
			if got := r.pinLevel(t); got != level || rep.Level == nil || *rep.Level != level || rep.On != (level > 0) || rep.Refused != nil {
				t.Errorf("wished %v: the pin has %v, reported %+v", level, got, rep)
			}
		}
		r.wishLevel(t, 40)
		r.set(t, drivers.Wish{Part: "fan", On: false, Cause: "command"})
		r.set(t, drivers.Wish{Part: "fan", On: true, Cause: "command"})
		if got := r.pinLevel(t); got != 40 {
			t.Errorf("on alone is %v, want the level before", got)
		}
	})
}

func TestPWM_ALevelOutsideItsRangeIsRefusedAndTheOneBeforeStands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := fan(t, board1(t), nil, func(c *drivers.OutputConfig) { c.Range = bound(20, 80) })
		r.wishLevel(t, 50)
		for _, level := range []float64{10, 81, -1, math.NaN(), math.Inf(1)} {
			r.wishLevel(t, level)
			if rep := r.record.last("fan"); r.pinLevel(t) != 50 || rep.Refused == nil || rep.Refused.Why != whyInvalid {
				t.Errorf("wished %v: the pin has %v, reported %+v", level, r.pinLevel(t), rep)
			}
		}
		r.wishLevel(t, 0)
		if got := r.pinLevel(t); got != 0 {
			t.Errorf("off is outside the range and must still be possible: %v", got)
		}
		r.set(t, drivers.Wish{Part: "fan", On: true, Cause: "command"})
		if got := r.pinLevel(t); got != 50 {
			t.Errorf("on: %v", got)
		}
	})
}

func TestPWM_SlewLimitsEveryChangeButTheStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := fan(t, board1(t), nil, func(c *drivers.OutputConfig) { c.Slew, c.OnStop = 20, "30" })
		r.wishLevel(t, 100)
		for s := 1; s <= 5; s++ {
			time.Sleep(time.Second)
			synctest.Wait()
			if got, want := r.pinLevel(t), float64(20*s); math.Abs(got-want) > 2.1 {
				t.Errorf("after %ds: %v, want about %v", s, got, want)
			}
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if rep := r.record.last("fan"); r.pinLevel(t) != 100 || *rep.Level != 100 {
			t.Errorf("arrived at %v, reported %v", r.pinLevel(t), *rep.Level)
		}
		if n := len(r.record.reports["fan"]); n > 4 {
			t.Errorf("%d reports; each is a commit, the steps on the way are none", n)
		}
		began := time.Now()
		r.stop()
		if got := r.pinLevel(t); got != 30 || time.Since(began) > time.Second {
			t.Errorf("stopped at %v after %v; want on_stop at once", got, time.Since(began))
		}
	})
}

func TestPWM_AFaultHasItsOwnLevelAlsoWhileOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := fan(t, board1(t), nil, func(c *drivers.OutputConfig) {
			c.OnFault, c.Require = "100", []string{"cpu.temperature > 40"}
		})
		r.out.Observe("cpu", map[string]float64{"temperature": 50})
		r.wishLevel(t, 30)
		if got := r.pinLevel(t); got != 30 {
			t.Fatalf("level %v", got)
		}
		r.out.ObserveHealth("cpu", drivers.Health{State: drivers.Fault})
		synctest.Wait()
		if got := r.pinLevel(t); got != 100 {
			t.Errorf("in a fault the level is %v, want on_fault", got)
		}
		r.out.ObserveHealth("cpu", drivers.Health{State: drivers.OK})
		synctest.Wait()
		if got := r.pinLevel(t); got != 30 {
			t.Errorf("after the fault the level is %v, want the wish", got)
		}
	})
}

func TestPWM_TheStartKeepsRestoresOrSetsTheLevel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for start, want := range map[string]float64{"off": 0, "keep": 40, "restore": 40, "25": 25, "on": 100} {
			w, memory := board1(t), &shelf{state: map[string][]byte{}}
			set := func(c *drivers.OutputConfig) { c.OnStart, c.OnStop = start, "keep" }
			r := fan(t, w, memory, set)
			r.wishLevel(t, 40)
			r.stop()
			if got := fan(t, w, memory, set).pinLevel(t); got != want {
				t.Errorf("on_start %s: level %v, want %v", start, got, want)
			}
		}
	})
}

func TestPWM_ActiveLowTurnsTheLevelRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := fan(t, board1(t), nil, func(c *drivers.OutputConfig) { c.Active = "low" })
		if got := r.pinLevel(t); got != 100 {
			t.Errorf("off is %v at the pin, want 100", got)
		}
		r.wishLevel(t, 30)
		if rep := r.record.last("fan"); r.pinLevel(t) != 70 || *rep.Level != 30 {
			t.Errorf("30 is %v at the pin, reported as %v", r.pinLevel(t), *rep.Level)
		}
	})
}

func TestPWM_AChannelThatDoesNotFollowIsAFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := fan(t, board1(t), nil, nil)
		if err := r.world.Fault("fan", "stuck", ""); err != nil {
			t.Fatal(err)
		}
		r.wishLevel(t, 60)
		rep, health := r.record.last("fan"), r.record.health[len(r.record.health)-1]
		if rep.On || health.State != drivers.Fault || health.Cause != drivers.CauseReadBack {
			t.Errorf("reported %+v, health %+v; want off and read_back", rep, health)
		}
	})
}

func TestPWM_AMissingChannelIsTakenWhenItComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := board1(t)
		if err := w.Fault("board", "unplug", ""); err != nil {
			t.Fatal(err)
		}
		r := fan(t, w, nil, nil)
		r.wishLevel(t, 60)
		if err := w.Fault("board", "none", ""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * lineRetry)
		synctest.Wait()
		if got := r.pinLevel(t); got != 60 {
			t.Errorf("level %v", got)
		}
	})
}

// Goal: whatever happens, the pin never moves faster than its slew, never has a
// level that nobody may wish for but on its way, and never a NaN. Method:
// random wishes, faults and guards, every level looked at each 100 ms.
func TestPWM_NoOrderOfEventsBreaksTheSlewOrTheRange(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 7))
			r := fan(t, board1(t), nil, func(c *drivers.OutputConfig) {
				c.Slew, c.Range, c.OnFault, c.Require = 50, bound(20, 90), "90", []string{"cpu.temperature > 40"}
				c.MinOn, c.MinOff = time.Second, time.Second
			})
			before := r.pinLevel(t)
			for range 300 {
				switch rnd.IntN(4) {
				case 0:
					level := []float64{0, 20, 55, 90, 100, 10, -5, math.NaN()}[rnd.IntN(8)]
					r.wishLevel(t, level)
				case 1:
					r.out.Observe("cpu", map[string]float64{"temperature": float64(rnd.IntN(80))})
				case 2:
					r.out.ObserveHealth("cpu", drivers.Health{State: []drivers.State{drivers.OK, drivers.Fault}[rnd.IntN(2)]})
				}
				time.Sleep(100 * time.Millisecond)
				synctest.Wait()
				now := r.pinLevel(t)
				if !(math.Abs(now-before) <= 50*0.2+0.001 && now >= 0 && now <= 90) {
					t.Fatalf("seed %d: from %v to %v within 100ms", seed, before, now)
				}
				before = now
			}
			r.stop()
		})
	}
}

func TestCheck_LevelsBelongToAPWMAndStandWithinTheirBounds(t *testing.T) {
	pwm := &drivers.PWMConfig{Frequency: 100}
	pin := &drivers.PinConfig{Line: "GPIO1"}
	for what, c := range map[string]struct {
		cfg drivers.OutputConfig
		ok  bool
	}{
		"levels":              {drivers.OutputConfig{PWM: pwm, OnStart: "30", OnStop: "0", OnFault: "100", Range: bound(20, 90), Slew: 20}, true},
		"words":               {drivers.OutputConfig{PWM: pwm, OnStart: "restore", OnStop: "keep", OnFault: "on"}, true},
		"too high":            {drivers.OutputConfig{PWM: pwm, OnStop: "101"}, false},
		"no number":           {drivers.OutputConfig{PWM: pwm, OnStop: "NaN"}, false},
		"restore at the stop": {drivers.OutputConfig{PWM: pwm, OnStop: "restore"}, false},
		"range turned round":  {drivers.OutputConfig{PWM: pwm, Range: bound(90, 20)}, false},
		"a pin has no level":  {drivers.OutputConfig{Pin: pin, OnStop: "30"}, false},
		"a pin has no slew":   {drivers.OutputConfig{Pin: pin, Slew: 3}, false},
		"a pin has no range":  {drivers.OutputConfig{Pin: pin, Range: bound(0, 50)}, false},
		"slew and interlock":  {drivers.OutputConfig{PWM: pwm, Slew: 3, Interlock: &drivers.InterlockConfig{Group: "g"}}, false},
		"neither":             {drivers.OutputConfig{}, false},
	} {
		if problems := Check(c.cfg); (len(problems) == 0) != c.ok {
			t.Errorf("%s: %v", what, problems)
		}
	}
}

// plain has lines without levels.
type plain struct{ drivers.Lines }

func TestSafe_SetsTheStopLevelOfAPWM(t *testing.T) {
	w := board1(t)
	c := drivers.OutputConfig{Name: "fan", OnStop: "30", PWM: &drivers.PWMConfig{Chip: "board", Channel: 2, Frequency: 100}}
	if err := w.AddOutput(c); err != nil {
		t.Fatal(err)
	}
	if err := Safe([]drivers.OutputConfig{c}, w); err != nil {
		t.Fatal(err)
	}
	if values, _ := w.Get("fan", ""); values["level"] != 30.0 {
		t.Errorf("level %v", values["level"])
	}
	if err := Safe([]drivers.OutputConfig{c}, plain{w}); !errors.Is(err, drivers.ErrUnplugged) {
		t.Errorf("without a backend: %v", err)
	}
}
