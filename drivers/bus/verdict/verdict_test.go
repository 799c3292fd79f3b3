package verdict

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

const ms = time.Millisecond

func TestNext_TheHighestPriorityGoesFirstAndEqualsInOrder(t *testing.T) {
	queue := []Waiting{{1, 0}, {2, 1}, {3, 2}, {4, 2}}
	if i, wait := Next(queue, Hold{}, 0); i != 2 || wait != 0 {
		t.Errorf("got %d after %v, want the first output write", i, wait)
	}
	if i, _ := Next([]Waiting{{1, 0}, {2, 0}}, Hold{}, 0); i != 0 {
		t.Errorf("got %d, want the first to come", i)
	}
	if i, _ := Next(nil, Hold{}, 0); i != -1 {
		t.Errorf("nobody waits: got %d", i)
	}
}

func TestNext_AHeldBusServesItsHolderThenWaitsAtMostTheGap(t *testing.T) {
	h := Hold{}.Extend(7, 100*ms, 101*ms)
	if i, _ := Next([]Waiting{{1, 2}, {7, 0}}, h, 120*ms); i != 1 {
		t.Errorf("got %d, want the holder before an output write", i)
	}
	if i, wait := Next([]Waiting{{1, 2}}, h, 120*ms); i != -1 || wait != 31*ms {
		t.Errorf("got %d after %v, want a wait of 31ms: the rest of the gap", i, wait)
	}
	if i, _ := Next([]Waiting{{1, 2}}, h, 151*ms); i != 0 {
		t.Errorf("got %d after the gap, want the next", i)
	}
}

func TestExtend_NoLeaseHoldsABusForEver(t *testing.T) {
	h, now := Hold{}, time.Duration(0)
	for range 200 {
		if i, _ := Next([]Waiting{{1, 0}}, h, now); i == 0 && now > 0 {
			if now > leaseMax+gapMax {
				t.Errorf("another came in after %v; want within %v", now, leaseMax)
			}
			return
		}
		h = h.Extend(7, now, now+5*ms)
		now += 10 * ms
	}
	t.Fatal("a talkative lease kept the bus")
}

func TestExtend_ATransactionOfItsOwnHoldsNothing(t *testing.T) {
	if h := (Hold{Lease: 3, Last: 5 * ms}).Extend(0, 6*ms, 7*ms); h != (Hold{}) {
		t.Errorf("got %+v", h)
	}
}

// Goal: whatever way was open, after the writes exactly the wanted ports are.
// Method: random routes on a model that obeys only writes it can hear.
func TestSwitch_LeavesExactlyTheWantedPortsOpen(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	route := func() (r Route) {
		for i := range rnd.IntN(HopsMax + 1) {
			r[i] = Hop{Addr: uint16(0x70 + i*2 + rnd.IntN(2)), Mask: 1 << rnd.IntN(3)}
		}
		return r
	}
	for range 5000 {
		open, want := route(), route()
		masks := map[uint16]byte{}
		for _, h := range open {
			masks[h.Addr] = h.Mask
		}
		for _, w := range Switch(open, want) {
			masks[w.Addr] = w.Mask
		}
		for _, h := range want {
			if h.Mask != 0 && masks[h.Addr] != h.Mask {
				t.Fatalf("from %v to %v: 0x%02x is %02x", open, want, h.Addr, masks[h.Addr])
			}
			delete(masks, h.Addr)
		}
		for addr, m := range masks {
			if m != 0 {
				t.Fatalf("from %v to %v: 0x%02x still has ports %02x open", open, want, addr, m)
			}
		}
	}
	one := Route{{0x70, 1}}
	if w := Switch(one, one); len(w) != 0 {
		t.Errorf("the way is open already: %v", w)
	}
	if w := Switch(one, Route{{0x70, 2}}); !slices.Equal(w, []Hop{{0x70, 2}}) {
		t.Errorf("another port of the same multiplexer: %v", w)
	}
}

func TestBehind_EndsAtTheLimit(t *testing.T) {
	r, ok := Route{}, true
	for range HopsMax {
		if r, ok = r.Behind(Hop{0x70, 1}); !ok {
			t.Fatal("too early")
		}
	}
	if _, ok = r.Behind(Hop{0x70, 1}); ok {
		t.Error("a hop too many was taken")
	}
}

// The rule of drivers.md 4.3: a dead chip costs at most a hundredth.
func TestLedger_ADeadChipCostsAtMostAHundredthOfTheBus(t *testing.T) {
	for _, took := range []time.Duration{ms, 20 * ms, 200 * ms, 400 * ms, 2 * time.Second} {
		var l Ledger
		c, busy, now := Chip{Addr: 0x40}, time.Duration(0), time.Duration(0)
		const day = 24 * time.Hour
		for now < day {
			if l.Pause(c, now) == 0 {
				now, busy = now+took, busy+took
				l.Note(c, Silence, took, now)
			}
			now += time.Second
		}
		if busy-debtFree-took > day/100 {
			t.Errorf("time-outs of %v cost %v of a day, want at most %v", took, busy, day/100)
		}
	}
}

func TestLedger_ThreePollsOfADeadChipAreAskedWithoutAPause(t *testing.T) {
	var l Ledger
	c := Chip{Addr: 0x40}
	for i := range 6 { // a poll is two tries of 200 ms
		if p := l.Pause(c, time.Duration(i)*time.Second); p != 0 {
			t.Fatalf("try %d waits %v", i, p)
		}
		l.Note(c, Silence, 200*ms, time.Duration(i)*time.Second)
	}
}

func TestLedger_AnAnswerEndsThePause(t *testing.T) {
	var l Ledger
	c := Chip{Addr: 0x40}
	l.Note(c, Silence, 3*time.Second, 0)
	if l.Pause(c, 0) == 0 {
		t.Fatal("no pause")
	}
	l.Note(c, Answer, ms, 0)
	if l.Pause(c, 0) != 0 {
		t.Error("a chip that answers is not asked")
	}
}

func TestStuck_TellsAHeldLineFromDeadChips(t *testing.T) {
	a, b, c, d := Chip{Addr: 1}, Chip{Addr: 2}, Chip{Addr: 3}, Chip{Addr: 4}
	note := func(l *Ledger, o Outcome, chips ...Chip) {
		for _, c := range chips {
			l.Note(c, o, ms, 0)
		}
	}
	for what, f := range map[string]struct {
		play func(l *Ledger)
		want bool
	}{
		"one of two is dead": {func(l *Ledger) { note(l, Answer, a, b); note(l, Silence, a, a, a) }, false},
		"both of two":        {func(l *Ledger) { note(l, Answer, a, b); note(l, Silence, a, b) }, true},
		"three of four":      {func(l *Ledger) { note(l, Answer, a, b, c, d); note(l, Silence, a, b, c) }, true},
		"three, but one answered between": {func(l *Ledger) {
			note(l, Answer, a, b, c, d)
			note(l, Silence, a, b)
			note(l, Answer, d)
			note(l, Silence, c)
		}, false},
		"three, but a NACK between": {func(l *Ledger) {
			note(l, Answer, a, b, c, d)
			note(l, Silence, a, b)
			note(l, NACK, d)
			note(l, Silence, c)
		}, false},
		"the only chip, once":             {func(l *Ledger) { note(l, Answer, a); note(l, Silence, a) }, false},
		"the only chip, twice":            {func(l *Ledger) { note(l, Answer, a); note(l, Silence, a, a) }, true},
		"an absent chip that times out":   {func(l *Ledger) { note(l, Silence, a, a, a, a) }, false},
		"nobody ever answered, three ask": {func(l *Ledger) { note(l, Silence, a, b, c) }, true},
		"what says nothing about the bus": {func(l *Ledger) { note(l, Answer, a); note(l, Other, a, a, a) }, false},
	} {
		var l Ledger
		f.play(&l)
		if l.Stuck() != f.want {
			t.Errorf("%s: stuck is %v", what, !f.want)
		}
	}
}

func TestRepair_ComesEverLessOftenUpToFiveMinutes(t *testing.T) {
	r, now := Repair{}.Broken(0), time.Duration(0)
	if !r.Due(now) {
		t.Fatal("the first try must come at once")
	}
	var waits []time.Duration
	for range 12 {
		if r = r.Tried(true, now); r.Due(now) {
			t.Fatal("a trial waits for a transaction, not for another try")
		}
		r = r.Broken(now)
		waits = append(waits, r.Wait(now))
		now += r.Wait(now)
		if !r.Due(now) {
			t.Fatal("not due after its wait")
		}
	}
	if waits[0] != time.Second || waits[1] != 2*time.Second || waits[2] != 4*time.Second || waits[11] != freeMax {
		t.Errorf("waits %v", waits)
	}
	if r = r.Tried(false, now); r.Trial || r.Due(now) {
		t.Errorf("a try that could do nothing: %+v", r)
	}
}

func TestLedger_ForgetsRatherThanGrow(t *testing.T) {
	var l Ledger
	for i := range chipsMax * 3 {
		l.Note(Chip{Addr: uint16(i)}, NACK, ms, 0)
		if len(l.chips) > chipsMax {
			t.Fatalf("%d chips", len(l.chips))
		}
	}
}
