package expander

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/sim"
	parts "github.com/tidehold/tidehold/drivers/sim/chip"
)

// watched is a simulated bus that looks after each transaction.
type watched struct {
	*sim.Bus
	look func()
}

func (w watched) Tx(ctx context.Context, addr uint16, out, in []byte) error {
	err := w.Bus.Tx(ctx, addr, out, in)
	if w.look != nil {
		w.look()
	}
	return err
}

// set puts a chip at 0x20 of bus `main`; look runs after each transaction.
func set(t *testing.T, c sim.Chip, look func()) (*Set, *sim.Bus) {
	t.Helper()
	b := sim.NewBus("main", 1)
	if err := b.Attach(0x20, c); err != nil {
		t.Fatal(err)
	}
	return On(func(name string) (drivers.Bus, error) {
		if name != "main" {
			return nil, drivers.ErrNoBus
		}
		return watched{b, look}, nil
	}), b
}

func driven(t *testing.T, s *Set, kind, line string, initial drivers.Level) drivers.OutputLine {
	t.Helper()
	l, err := s.Output(drivers.PinConfig{Chip: "main/0x20/" + kind, Line: line}, initial)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func write(t *testing.T, l drivers.OutputLine, high bool) {
	t.Helper()
	if err := l.Write(high); err != nil {
		t.Fatal(err)
	}
	if got, err := l.Read(); err != nil || got != high {
		t.Errorf("wrote %v, the pin reads %v, %v", high, got, err)
	}
}

func TestSplit_ANameSaysWhereTheChipSits(t *testing.T) {
	for name, want := range map[string]string{"main/0x20/mcp23017": "main", "main/0x70/3/0x20/pcf8574": "main/0x70/3", "main/0x40/pca9685": "main"} {
		if bus, _, _, ok := Split(name); !ok || bus != want {
			t.Errorf("%s: got %q, %v; want %q", name, bus, ok, want)
		}
	}
	for _, name := range []string{"", "main", "main/0x70/3", "main/0x99/mcp23017", "main/x/pcf8574", "main/0x20/mcp23008", "mcp23017"} {
		if _, _, _, ok := Split(name); ok {
			t.Errorf("%q is no expander", name)
		}
	}
}

// Goal: a relay that is held by a pull resistor does not click when its line is
// taken, whatever level it is to have. Method: look at the pin after each
// transaction.
func TestOutput_HasItsLevelFromTheFirstMoment(t *testing.T) {
	for _, before := range []bool{false, true} {
		for _, initial := range []drivers.Level{drivers.Keep, drivers.Low, drivers.High} {
			c := parts.MCP23017()
			c.Drive(11, before)
			var seen []bool
			s, _ := set(t, c, func() { seen = append(seen, c.Pins()>>11&1 == 1) })
			driven(t, s, "mcp23017", "GPB3", initial)
			want := before
			if initial != drivers.Keep {
				want = initial == drivers.High
			}
			if seen[len(seen)-1] != want {
				t.Errorf("from %v with %v: ends at %v", before, initial, seen[len(seen)-1])
			}
			if slices.Contains(seen, !before) && want == before {
				t.Errorf("from %v with %v: the pin went through %v", before, initial, seen)
			}
			c.Drive(11, !before) // driven now, not by the outside
			if c.Pins()>>11&1 == 1 != want {
				t.Error("the line is no output")
			}
		}
	}
}

func TestOutput_IsTakenOverAsItStandsAfterARestart(t *testing.T) {
	c := parts.MCP23017()
	s, b := set(t, c, nil)
	write(t, driven(t, s, "mcp23017", "0", drivers.High), true)
	before := c.Pins()
	again := On(func(string) (drivers.Bus, error) {
		return watched{b, func() {
			if c.Pins() != before {
				t.Errorf("the pins moved to %016b", c.Pins())
			}
		}}, nil
	})
	driven(t, again, "mcp23017", "0", drivers.Keep)
	driven(t, again, "mcp23017", "GPA0", drivers.High)
}

func TestWrite_OtherLinesKeepWhatTheyHave(t *testing.T) {
	c := parts.MCP23017()
	s, _ := set(t, c, nil)
	a, b := driven(t, s, "mcp23017", "GPA1", drivers.Low), driven(t, s, "mcp23017", "GPA2", drivers.High)
	write(t, a, true)
	write(t, b, false)
	write(t, a, false)
	write(t, b, true)
	if c.Pins()&0xff != 4 {
		t.Errorf("pins %08b, want 00000100", c.Pins()&0xff)
	}
}

// Goal: after a loss of supply the chip is all inputs again; the next write
// gives the line back its direction.
func TestWrite_AChipThatLostItsSupplyIsSetUpAgain(t *testing.T) {
	c := parts.MCP23017()
	s, b := set(t, c, nil)
	l := driven(t, s, "mcp23017", "GPA7", drivers.High)
	write(t, l, true)
	if err := b.SetFault(0x20, sim.Fault{Kind: sim.PowerLoss}); err != nil {
		t.Fatal(err)
	}
	if high, err := l.Read(); err != nil || high {
		t.Errorf("after the loss the pin must read low, the truth: %v, %v", high, err)
	}
	write(t, l, true)
	p := parts.NewPCF8574()
	s, b = set(t, p, nil)
	first, second := driven(t, s, "pcf8574", "P0", drivers.Low), driven(t, s, "pcf8574", "P1", drivers.Low)
	if err := b.SetFault(0x20, sim.Fault{Kind: sim.PowerLoss}); err != nil {
		t.Fatal(err)
	}
	write(t, first, false)
	if high, err := second.Read(); err != nil || high {
		t.Errorf("a write gives every line its level back: %v, %v", high, err)
	}
}

func TestPCF8574_KeepsInputsHighAndOutputsApart(t *testing.T) {
	p := parts.NewPCF8574()
	p.Drive(4, false) // a pressed button while the output is taken
	s, _ := set(t, p, nil)
	in, err := s.Input(drivers.PinConfig{Chip: "main/0x20/pcf8574", Line: "P4"}, drivers.PullUp, drivers.BothEdges)
	if err != nil {
		t.Fatal(err)
	}
	l := driven(t, s, "pcf8574", "P3", drivers.Keep)
	write(t, l, false)
	p.Drive(4, true)
	if high, err := in.Read(); err != nil || !high || p.Pins()&8 != 0 {
		t.Errorf("the input reads %v, %v; pins %08b", high, err, p.Pins())
	}
	if _, err := s.Input(drivers.PinConfig{Chip: "main/0x20/pcf8574", Line: "P5"}, drivers.PullDown, drivers.BothEdges); err == nil {
		t.Error("a pull-down must be refused")
	}
}

// Goal: edges are found by polling and are told once, in order. Method: virtual
// time; a line toggles every 50 ms.
func TestWait_FindsEveryEdgeSlowerThanThePoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := parts.MCP23017()
		s, b := set(t, c, nil)
		pin := drivers.PinConfig{Chip: "main/0x20/mcp23017", Line: "GPA5"}
		in, err := s.Input(pin, drivers.PullUp, drivers.BothEdges)
		if err != nil {
			t.Fatal(err)
		}
		rising, err := s.Input(pin, drivers.PullUp, drivers.RisingEdges)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for n := range 10 {
				time.Sleep(50 * time.Millisecond)
				c.Drive(5, n%2 == 0)
			}
		}()
		for n := range 10 {
			e, err := in.Wait(t.Context())
			if err != nil || e.High != (n%2 == 0) || e.Seq != uint64(n+1) {
				t.Fatalf("edge %d: got %+v, %v", n, e, err)
			}
		}
		c.Drive(5, true)
		if e, err := rising.Wait(t.Context()); err != nil || !e.High || e.Seq != 1 {
			t.Errorf("a rising edge alone: got %+v, %v", e, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := in.Wait(ctx); err != nil { // the edge that rising saw
			t.Errorf("got %v", err)
		}
		if _, err := in.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a quiet line: got %v", err)
		}
		if err := b.SetFault(0x20, sim.Fault{Kind: sim.NACK}); err != nil {
			t.Fatal(err)
		}
		if _, err := in.Wait(t.Context()); !errors.Is(err, drivers.ErrNACK) {
			t.Errorf("a chip that is gone: got %v", err)
		}
	})
}

func dimmer(t *testing.T, s *Set, n int, hz int64, initial *float64) drivers.LevelLine {
	t.Helper()
	l, err := s.PWM(drivers.PWMConfig{Chip: "main/0x20/pca9685", Channel: n, Frequency: hz}, initial)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func expectLevel(t *testing.T, l drivers.LevelLine, want float64) {
	t.Helper()
	if got, err := l.Level(); err != nil || math.Abs(got-want) > 0.013 {
		t.Errorf("level %v, %v; want %v", got, err, want)
	}
}

func TestPWM_LevelsAreReadBackAndSurviveARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b := set(t, parts.PCA9685(), nil)
		thirty := 30.0
		l := dimmer(t, s, 3, 200, &thirty)
		expectLevel(t, l, 30)
		for _, v := range []float64{0, 0.025, 50, 99.9, 100} {
			if err := l.Set(v); err != nil {
				t.Fatal(err)
			}
			expectLevel(t, l, v)
		}
		for _, v := range []float64{-1, 101, math.NaN()} {
			if l.Set(v) == nil {
				t.Errorf("level %v must be refused", v)
			}
		}
		other := dimmer(t, s, 15, 200, nil)
		expectLevel(t, other, 0)
		again := On(func(string) (drivers.Bus, error) { return b, nil })
		expectLevel(t, dimmer(t, again, 3, 200, nil), 100)
		if err := b.SetFault(0x20, sim.Fault{Kind: sim.PowerLoss}); err != nil {
			t.Fatal(err)
		}
		expectLevel(t, l, 0) // the truth
		if err := l.Set(40); err != nil {
			t.Fatal(err)
		}
		expectLevel(t, l, 40)
	})
}

// The datasheet's example: 200 Hz is a divider of 0x1E (section 7.3.5).
func TestPWM_FrequenciesAreTheDatasheetsAndOneForAChip(t *testing.T) {
	if got := prescale(200); got != 0x1e {
		t.Errorf("200 Hz: divider 0x%02x, want 0x1e", got)
	}
	s, _ := set(t, parts.PCA9685(), nil)
	dimmer(t, s, 0, 50, nil)
	for _, c := range []drivers.PWMConfig{
		{Chip: "main/0x20/pca9685", Channel: 1, Frequency: 60}, {Chip: "main/0x20/pca9685", Channel: 16, Frequency: 50}, {Chip: "main/0x20/pca9685", Channel: -1, Frequency: 50},
		{Chip: "main/0x20/pca9685", Channel: 1, Frequency: 5}, {Chip: "main/0x20/pca9685", Channel: 1, Frequency: 25000}, {Chip: "main/0x20/mcp23017", Channel: 1, Frequency: 50},
		{Chip: "none/0x20/pca9685", Channel: 1, Frequency: 50}, {Chip: "main", Channel: 1, Frequency: 50},
	} {
		if _, err := s.PWM(c, nil); err == nil {
			t.Errorf("%+v must be refused", c)
		}
	}
}

func TestLines_WhatIsNotThereIsRefused(t *testing.T) {
	s, b := set(t, parts.MCP23017(), nil)
	for _, p := range []drivers.PinConfig{
		{Chip: "main/0x20/mcp23017", Line: "16"}, {Chip: "main/0x20/mcp23017", Line: "GPC0"}, {Chip: "main/0x20/mcp23017", Line: "-1"},
		{Chip: "main/0x20/pca9685", Line: "0"}, {Chip: "none/0x20/mcp23017", Line: "0"}, {Chip: "gpiochip0", Line: "0"},
	} {
		if _, err := s.Output(p, drivers.Low); err == nil {
			t.Errorf("%+v must be refused", p)
		}
	}
	b.Detach(0x20)
	if _, err := s.Output(drivers.PinConfig{Chip: "main/0x20/mcp23017", Line: "0"}, drivers.Low); !errors.Is(err, drivers.ErrNACK) {
		t.Errorf("an absent chip: got %v", err)
	}
	if !s.Simulated("main/0x20/mcp23017") || s.Simulated("main") || s.Simulated("none/0x20/mcp23017") {
		t.Error("only the expander on the simulated bus is simulated")
	}
}
