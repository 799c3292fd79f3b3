package sampler

import (
	"context"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/bus/shared"
	"github.com/tidehold/tidehold/drivers/sim"
	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/metrics"
)

// street is a simulated bus with many chips, shared as the gateway does it.
type street struct {
	sim     *sim.Bus
	bus     *shared.Bus
	sensors []Sensor
}

// newStreet puts n chips on a bus, each polled every poll.
func newStreet(t testing.TB, n int, poll time.Duration) *street {
	t.Helper()
	s := &street{sim: sim.NewBus("board", 42)}
	s.bus = shared.New(s.sim, shared.Options{Name: "board", Simulated: true})
	for i := range n {
		addr := uint16(0x10 + i)
		chip := sim.NewBME280(func(string) float64 { return 20 })
		if err := s.sim.Attach(addr, chip); err != nil {
			t.Fatal(err)
		}
		s.sensors = append(s.sensors, Sensor{Driver: anywhere{}, Bus: s.bus, Config: drivers.SensorConfig{
			Name: fmt.Sprintf("s%d", i), Driver: "bme280", Bus: "board", Address: []uint16{addr}, Poll: poll}})
	}
	return s
}

// anywhere reads a BME280 at any address: identity and calibration at the
// start, then one forced conversion for each read.
type anywhere struct{}

type anyDevice struct{ h *drivers.Handle }

func (anywhere) Describe() drivers.Info {
	return drivers.Info{Name: "bme280", Bus: "i2c", MaxRead: 500 * time.Millisecond,
		Channels: []drivers.Channel{{Name: "temperature", Quantity: drivers.Temperature, Unit: "°C"}}}
}

func (anywhere) Open(ctx context.Context, h *drivers.Handle, _ drivers.Options) (drivers.Device, error) {
	d := anyDevice{h}
	if err := d.Identify(ctx); err != nil {
		return nil, err
	}
	return d, h.Do(ctx, func() error { return h.Tx(h.Address(), []byte{0x88}, make([]byte, 26)) })
}

func (d anyDevice) Identify(ctx context.Context) error {
	return d.h.Do(ctx, func() error { return d.h.Tx(d.h.Address(), []byte{0xd0}, make([]byte, 1)) })
}

func (d anyDevice) Read(ctx context.Context) ([]drivers.Reading, error) {
	var raw [8]byte
	err := d.h.Do(ctx, func() error {
		if err := d.h.Tx(d.h.Address(), []byte{0xf4, 0x25}, nil); err != nil {
			return err
		}
		if err := d.h.Rest(10 * time.Millisecond); err != nil {
			return err
		}
		return d.h.Tx(d.h.Address(), []byte{0xf7}, raw[:])
	})
	return []drivers.Reading{{Channel: "temperature", Quantity: drivers.Temperature, Value: float64(raw[3])}}, err
}

func (anyDevice) Close() error { return nil }

// play runs a sampler for a time and gives what it told.
func play(t testing.TB, sensors []Sensor, d time.Duration, during func(*Sampler, *record)) *record {
	t.Helper()
	r := &record{start: time.Now()}
	s, err := New(sensors, r, clock.NewSystem(), metrics.New(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	if during != nil {
		during(s, r)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	return r
}

// The bar of the issue: one dead device on a bus of ten costs the others at
// most 1 % of their polls. Method: twenty minutes of virtual time, a chip whose every
// transaction costs the bus its time-out.
func TestRun_ADeadDeviceOfTenCostsTheOthersAtMostAHundredthOfTheirPolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreet(t, 10, time.Second)
		r := play(t, s.sensors, 20*time.Minute, func(*Sampler, *record) {
			time.Sleep(10 * time.Second)
			mustDo(t, s.sim.SetFault(0x10, sim.Fault{Kind: sim.Stuck}))
		})
		for _, c := range s.sensors[1:] {
			got := len(r.samples(c.Config.Name))
			if lost := 1200 - got; lost > 12 {
				t.Errorf("%s: %d polls of 1200 lost", c.Config.Name, lost)
			}
			if states := r.states(c.Config.Name); len(states) != 1 {
				t.Errorf("%s: health went %v; want ok once", c.Config.Name, states)
			}
		}
		dead := r.states("s0")
		if last := dead[len(dead)-1]; last.state != drivers.Fault || last.cause != drivers.CauseTimeout || last.at > 14*time.Second {
			t.Errorf("the dead one: %v; want a fault within 3 polls", dead)
		}
	})
}

func TestRun_AChipThatIsRepairedIsBackWithinItsPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreet(t, 2, time.Second)
		r := play(t, s.sensors, 12*time.Minute, func(*Sampler, *record) {
			time.Sleep(time.Minute)
			mustDo(t, s.sim.SetFault(0x10, sim.Fault{Kind: sim.Stuck}))
			time.Sleep(10 * time.Minute)
			mustDo(t, s.sim.SetFault(0x10, sim.Fault{Kind: sim.NoFault}))
		})
		states := r.states("s0")
		last := states[len(states)-1]
		if after := last.at - 11*time.Minute; last.state != drivers.OK || after > 22*time.Second {
			t.Errorf("ok again %v after the repair: %v", after, last.state) // 99 times 200 ms, and a poll
		}
	})
}

func TestRun_AStuckBusIsToldByEveryDeviceAndHealsWithoutARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreet(t, 5, time.Second)
		r := play(t, s.sensors, 2*time.Minute, func(*Sampler, *record) {
			time.Sleep(10 * time.Second)
			s.sim.Hold(1, false) // nothing frees it
			time.Sleep(20 * time.Second)
			s.sim.Hold(9, true) // from now on pulses do
		})
		for _, c := range s.sensors {
			states := r.states(c.Config.Name)
			last, told := states[len(states)-1], false
			for _, e := range states {
				told = told || e.cause == drivers.CauseBusStuck && e.at < 16*time.Second
			}
			if !told || last.state != drivers.OK || last.at > 50*time.Second {
				t.Errorf("%s went %v; want bus_stuck soon and ok after the pulses", c.Config.Name, states)
			}
		}
	})
}

func TestRun_AReplugBetweenTwoPollsIdentifiesAndSetsUpAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreet(t, 1, time.Minute)
		before, after := 0, 0
		r := play(t, s.sensors, 10*time.Minute, func(*Sampler, *record) {
			time.Sleep(5*time.Minute + time.Second)
			before = s.sim.Transactions()
			s.sim.SetUnplugged(true)
			s.sim.SetUnplugged(false)
			time.Sleep(time.Minute)
			after = s.sim.Transactions()
		})
		if n := after - before; n != 4 {
			t.Errorf("%d transactions after the re-plug; want identity, calibration and the two of a read", n)
		}
		if states := r.states("s0"); len(states) != 1 {
			t.Errorf("health went %v", states)
		}
	})
}

func TestRun_ADayOfThreeSensorsPassesInSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreet(t, 3, 10*time.Second)
		polls := &tally{}
		smp, err := New(s.sensors, polls, clock.NewSystem(), metrics.New(), nil)
		mustDo(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
		defer cancel()
		mustDo(t, smp.Run(ctx))
		if n := polls.samples.Load(); n < 3*8640 || n > 3*8642 {
			t.Errorf("%d polls in a day; want 25920", n)
		}
		if n := polls.healths.Load(); n != 3 {
			t.Errorf("%d changes of health; want ok once for each", n)
		}
	})
}

func TestReplace_UnchangedSensorsGoOnWithoutAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreet(t, 3, time.Second)
		changed := append([]Sensor{}, s.sensors[:2]...)
		changed[1].Config.Poll = 2 * time.Second
		r := play(t, s.sensors, 20*time.Second, func(smp *Sampler, _ *record) {
			time.Sleep(10 * time.Second)
			mustDo(t, smp.Replace(t.Context(), changed))
			if h := smp.Health(); len(h) != 2 || h["s2"].State != "" {
				t.Errorf("health of %v", h)
			}
		})
		got := r.samples("s0")
		for i := 2; i < len(got); i++ {
			if step := got[i].at - got[i-1].at; step != time.Second {
				t.Errorf("the unchanged one paused for %v", step)
			}
		}
		if states := r.states("s0"); len(states) != 1 {
			t.Errorf("the unchanged one went %v", states)
		}
		if n := len(r.samples("s1")); n < 15 || n > 17 {
			t.Errorf("the changed one was read %d times; want about 10 and 6", n)
		}
		if last := r.samples("s2"); last[len(last)-1].at > 10*time.Second {
			t.Errorf("the removed one was read after %v", last[len(last)-1].at)
		}
	})
}

func TestReplace_AWrongSensorChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreet(t, 1, time.Second)
		wrong := append([]Sensor{}, s.sensors...)
		wrong[0].Config.Poll = -1
		r := play(t, s.sensors, 10*time.Second, func(smp *Sampler, _ *record) {
			time.Sleep(5 * time.Second)
			if err := smp.Replace(t.Context(), wrong); err == nil {
				t.Error("want an error")
			}
		})
		if n := len(r.samples("s0")); n < 10 {
			t.Errorf("%d reads", n)
		}
	})
}

func TestRead_AWrongChecksumIsReadTwiceMore(t *testing.T) {
	for fails, want := range map[int]error{0: nil, 1: nil, 2: nil, 3: drivers.ErrCRC} {
		d := &noisy{fails: fails}
		if _, err := readChecked(t.Context(), d); drivers.CauseOf(err) != drivers.CauseOf(want) && err != want {
			t.Errorf("%d wrong ones: %v, want %v", fails, err, want)
		}
		if d.reads != min(fails, 2)+1 {
			t.Errorf("%d wrong ones: %d reads", fails, d.reads)
		}
	}
}

// noisy gives wrong checksums at first.
type noisy struct{ fails, reads int }

func (*noisy) Identify(context.Context) error { return nil }
func (*noisy) Close() error                   { return nil }
func (d *noisy) Read(context.Context) ([]drivers.Reading, error) {
	if d.reads++; d.reads <= d.fails {
		return nil, drivers.ErrCRC
	}
	return nil, nil
}

func TestDoubt_ThreeEqualRefusalsInARowSetTheChipUpAnew(t *testing.T) {
	a, b := -140.0, 85.0
	var d doubt
	for i, step := range []struct {
		refused *float64
		want    bool
	}{{&a, false}, {&a, false}, {&a, true}, {&a, false}, {&a, false}, {&b, false}, {&b, false}, {nil, false}, {&b, false}, {&b, false}, {&b, true}} {
		if got := d.after(step.refused); got != step.want {
			t.Errorf("step %d: %v", i, got)
		}
	}
}

// tally is a Sink that only counts.
type tally struct{ samples, healths atomic.Int64 }

func (c *tally) Samples(string, []drivers.Sample) { c.samples.Add(1) }
func (c *tally) Health(string, drivers.Health)    { c.healths.Add(1) }

// BenchmarkRun_FiftyDevicesEachSecond shows the bar of the issue: 50 devices at
// polls of a second cost at most 3 % of a core. One operation is one second of
// real time with the simulated chips on one bus, whose cost is included.
func BenchmarkRun_FiftyDevicesEachSecond(b *testing.B) {
	s := newStreet(b, 50, time.Second)
	var polls tally
	smp, err := New(s.sensors, &polls, clock.NewSystem(), metrics.New(), nil)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(b.Context(), time.Duration(b.N)*time.Second)
	defer cancel()
	before := processTime(b)
	if err := smp.Run(ctx); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(100*(processTime(b)-before).Seconds()/float64(b.N), "%core")
	b.ReportMetric(float64(polls.samples.Load())/float64(b.N), "polls/s")
}

// processTime is what this process has used of the processors.
func processTime(tb testing.TB) time.Duration {
	tb.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
