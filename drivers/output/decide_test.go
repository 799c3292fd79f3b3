package output

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// bench drives Decide with a virtual clock and pins that follow.
type bench struct {
	t       *testing.T
	cfg     []Settings
	st      State
	now     time.Duration
	next    time.Duration
	pins    []bool
	stuck   []bool
	writes  []string
	between func() // looks at the pins after every single write
}

func newBench(t *testing.T, cfg ...Settings) *bench {
	b := &bench{t: t, cfg: cfg, st: make(State, len(cfg)), now: time.Hour, pins: make([]bool, len(cfg)), stuck: make([]bool, len(cfg))}
	for i := range cfg {
		c := &b.cfg[i]
		for _, m := range []*mode{&c.OnStart, &c.OnStop, &c.OnFault} {
			if *m == "" {
				*m = modeOff
			}
		}
		b.st[i].Alive, b.st[i].Since = b.now, b.now-24*time.Hour
	}
	for i := range cfg {
		b.do(Event{Kind: Opened, Part: i, Since: b.now - 24*time.Hour})
	}
	b.writes = nil
	return b
}

func (b *bench) do(e Event) {
	b.t.Helper()
	for events := []Event{e}; len(events) > 0; events = events[1:] {
		var actions []Action
		old, before := b.st, slices.Clone(b.st)
		b.st, actions, b.next = Decide(b.cfg, b.st, events[0], b.now)
		if !slices.Equal(old, before) {
			b.t.Fatal("Decide changed the state it was given")
		}
		for _, a := range actions {
			if !b.stuck[a.Part] {
				b.pins[a.Part] = a.On
			}
			b.writes = append(b.writes, fmt.Sprintf("%s=%v %s", b.cfg[a.Part].Name, a.On, a.Cause))
			if b.between != nil {
				b.between()
			}
			events = append(events, Event{Kind: Observed, Part: a.Part, On: b.pins[a.Part]})
		}
		if len(b.writes) > 100_000 {
			b.t.Fatal("the machine writes without end")
		}
	}
}

// advance lets time pass, waking at each deadline as the shell does.
func (b *bench) advance(d time.Duration) {
	b.t.Helper()
	end := b.now + d
	for wakes := 0; b.next != 0 && b.next <= end; wakes++ {
		if wakes > 10_000 {
			b.t.Fatalf("a deadline that does not move: %v at %v, %+v", b.next, b.now, b.st)
		}
		b.now = max(b.now, b.next)
		b.do(Event{Kind: Tick})
		if b.next != 0 && b.next <= b.now {
			b.t.Fatalf("deadline %v is not after %v: %+v", b.next, b.now, b.st)
		}
	}
	b.now = end
}

func (b *bench) wish(i int, on bool) {
	b.t.Helper()
	b.do(Event{Kind: Wished, Part: i, On: on, Cause: "desired"})
}

func (b *bench) expect(i int, on bool, why string) {
	b.t.Helper()
	if p := b.st[i]; p.On != on || b.pins[i] != on || p.Refused.Why != why {
		b.t.Errorf("%s: on=%v pin=%v refused=%q (until %v, now %v); want on=%v refused=%q", b.cfg[i].Name, p.On, b.pins[i], p.Refused.Why, p.Refused.Until, b.now, on, why)
	}
}

func TestDecide_MinOnAndMinOffDelayTheWishAndThenDoIt(t *testing.T) {
	b := newBench(t, Settings{Name: "pump", MinOn: 30 * time.Second, MinOff: 2 * time.Minute})
	b.wish(0, true)
	b.expect(0, true, "")
	b.wish(0, false)
	b.expect(0, true, whyMinOn)
	if want := b.now + 30*time.Second; b.st[0].Refused.Until != want {
		t.Errorf("until %v, want %v", b.st[0].Refused.Until, want)
	}
	b.advance(29 * time.Second)
	b.expect(0, true, whyMinOn)
	b.advance(time.Second)
	b.expect(0, false, "")
	b.wish(0, true)
	b.expect(0, false, whyMinOff)
	b.wish(0, false) // the wish changed: nothing is left to do
	b.advance(time.Hour)
	b.expect(0, false, "")
}

func TestDecide_MaxOnEndsTheWishUntilSomebodyWantsOffFirst(t *testing.T) {
	b := newBench(t, Settings{Name: "pump", MaxOn: time.Hour})
	b.wish(0, true)
	b.advance(time.Hour - 1)
	b.expect(0, true, "")
	b.advance(1)
	b.expect(0, false, causeMaxOn)
	b.wish(0, true) // a rule that says on again and again must not defeat the limit
	b.expect(0, false, causeMaxOn)
	b.wish(0, false)
	b.wish(0, true)
	b.expect(0, true, "")
}

func TestDecide_InterlockLetsTheNextOnlyAfterTheWait(t *testing.T) {
	s := Settings{Group: "valves", Wait: 500 * time.Millisecond}
	a, c := s, s
	a.Name, c.Name = "a", "c"
	b := newBench(t, a, c)
	b.wish(0, true)
	b.wish(1, true)
	b.expect(1, false, causeInterlock)
	b.wish(0, false)
	b.expect(0, false, "")
	b.expect(1, false, causeInterlock)
	b.advance(499 * time.Millisecond)
	b.expect(1, false, causeInterlock)
	b.advance(time.Millisecond)
	b.expect(1, true, "")
}

func TestDecide_LossBringsTheSafeStateAndAnyWishEndsIt(t *testing.T) {
	b := newBench(t, Settings{Name: "pump", LossAfter: 10 * time.Minute, MinOn: time.Hour})
	b.wish(0, true)
	b.advance(9 * time.Minute)
	b.wish(0, true)
	b.advance(9 * time.Minute)
	b.expect(0, true, "")
	b.advance(time.Minute)
	b.expect(0, false, causeLoss) // a safety transition does not wait for min_on
	b.wish(0, true)
	b.expect(0, true, "")
}

func TestDecide_MinOnHardHoldsEvenAgainstAStop(t *testing.T) {
	for _, hard := range []bool{false, true} {
		b := newBench(t, Settings{Name: "pump", MinOn: time.Minute, MinOnHard: hard})
		b.wish(0, true)
		b.do(Event{Kind: Stopped})
		if b.pins[0] != hard {
			t.Errorf("min_on_hard %v: pin is %v after the stop", hard, b.pins[0])
		}
	}
}

func TestDecide_GuardsUnknownIsFalseAndFaultyIsAFault(t *testing.T) {
	b := newBench(t, Settings{Name: "pump", Guarded: true, OnFault: modeKeep, MinOn: time.Hour})
	b.wish(0, true)
	b.expect(0, false, causeRequire)
	b.do(Event{Kind: Guarded, Guard: GuardHolds})
	b.expect(0, true, "")
	b.do(Event{Kind: Guarded, Guard: GuardFaulty})
	b.expect(0, true, "") // on_fault: keep
	b.do(Event{Kind: Guarded, Guard: GuardFails})
	b.expect(0, false, causeRequire)
}

func TestDecide_AMissingConfirmationIsAFaultUntilANewWish(t *testing.T) {
	b := newBench(t, Settings{Name: "pump", ConfirmWithin: 3 * time.Second})
	b.wish(0, true)
	b.advance(2 * time.Second)
	b.do(Event{Kind: Followed, On: true})
	b.advance(time.Minute)
	b.expect(0, true, "")
	b.wish(0, false)
	b.do(Event{Kind: Followed, On: false})
	b.wish(0, true)
	b.advance(3 * time.Second)
	b.expect(0, false, causeFault)
	if !b.st[0].NotConfirmed {
		t.Error("want not confirmed")
	}
	b.wish(0, true)
	b.expect(0, true, "")
}

func TestDecide_APinThatDoesNotFollowIsReportedAsItIsAndTriedAgain(t *testing.T) {
	b := newBench(t, Settings{Name: "pump"})
	b.stuck[0] = true
	b.wish(0, true)
	b.expect(0, false, causeFault)
	if !b.st[0].BadLine {
		t.Error("want a bad line")
	}
	b.advance(time.Minute)
	if n := len(b.writes); n < 10 || n > 14 {
		t.Errorf("%d writes in a minute; want one each 5 s", n)
	}
	b.stuck[0] = false
	b.advance(5 * time.Second)
	b.expect(0, true, "")
}

func TestDecide_OldAndInvalidWishesAreRefusedWithTheirReason(t *testing.T) {
	b := newBench(t, Settings{Name: "fan"}, Settings{Name: "lamp", OnStart: modeRestore}, Settings{Name: "bell", ApplyOld: true})
	for i := range 3 {
		b.do(Event{Kind: Wished, Part: i, On: true, Old: true, Cause: "desired"})
	}
	b.expect(0, false, whyOld)
	b.expect(1, true, "")
	b.expect(2, true, "")
	b.do(Event{Kind: Wished, Part: 1, Invalid: true})
	b.expect(1, true, whyInvalid)
	b.wish(1, false)
	b.expect(1, false, "")
}

func TestDecide_StopIsWrittenForEveryOutput(t *testing.T) {
	b := newBench(t, Settings{Name: "a", OnStop: modeOff}, Settings{Name: "b", OnStop: modeKeep}, Settings{Name: "c", OnStop: modeOn})
	b.wish(0, true)
	b.wish(1, true)
	b.writes = nil
	b.do(Event{Kind: Stopped})
	if got := strings.Join(b.writes, "; "); got != "a=false stop; c=true stop" {
		t.Errorf("wrote %s", got)
	}
}

// Property: with any events at any times, at most one output of a group is on
// between any two writes, the wait is kept, max_on is never exceeded, min_off
// is never undercut, and the machine always comes to rest.
func TestDecide_InvariantsHoldForRandomHistories(t *testing.T) {
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		wait := time.Duration(rnd.IntN(3)) * time.Second
		cfg := make([]Settings, 3)
		for i := range cfg {
			cfg[i] = Settings{Name: fmt.Sprint(i), Group: "g", Wait: wait, Guarded: rnd.IntN(3) == 0,
				OnFault: []mode{modeOff, modeOn, modeKeep}[rnd.IntN(3)], MinOff: time.Duration(rnd.IntN(4)) * time.Second,
				MinOn: time.Duration(rnd.IntN(4)) * time.Second, MaxOn: time.Duration(rnd.IntN(2)) * 20 * time.Second}
			if rnd.IntN(3) == 0 {
				cfg[i].LossAfter, cfg[i].LossState = 15*time.Second, rnd.IntN(2) == 0
			}
		}
		b := newBench(t, cfg...)
		offAt, was := make([]time.Duration, 3), make([]bool, 3)
		b.between = func() {
			on := 0
			for i, level := range b.pins {
				if level {
					on++
				}
				if was[i] && !level {
					offAt[i] = b.now
				}
				if !was[i] && level {
					for j := range b.pins {
						if offAt[j] > 0 && (j != i && b.now-offAt[j] < wait || j == i && b.now-offAt[i] < cfg[i].MinOff) {
							t.Fatalf("seed %d: %d on at %v though %d went off at %v", seed, i, b.now, j, offAt[j])
						}
					}
				}
				was[i] = level
			}
			if on > 1 {
				t.Fatalf("seed %d: %d outputs of one group on: %v", seed, on, b.writes)
			}
		}
		for range 200 {
			i := rnd.IntN(3)
			switch rnd.IntN(6) {
			case 0, 1, 2:
				b.wish(i, rnd.IntN(2) == 0)
			case 3:
				b.do(Event{Kind: Guarded, Part: i, Guard: GuardState(rnd.IntN(4))})
			case 4:
				b.stuck[i] = rnd.IntN(8) == 0 && !b.pins[i] // a line stuck off
			}
			b.advance(time.Duration(rnd.IntN(5000)) * time.Millisecond)
			for i := range cfg {
				p := b.st[i]
				if cfg[i].MaxOn > 0 && p.On && b.now-p.Since > cfg[i].MaxOn && !p.Lost && !(cfg[i].Guarded && p.Guard == GuardFaulty) && !p.BadLine {
					t.Fatalf("seed %d: on for %v, max_on %v: %+v", seed, b.now-p.Since, cfg[i].MaxOn, p)
				}
			}
		}
	}
}
