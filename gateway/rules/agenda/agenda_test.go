package agenda

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

const s = time.Second

func take(a *Agenda[string], up time.Duration) (all []string) {
	for {
		of, due, save, ok := a.Take(up)
		if !ok {
			return all
		}
		if due {
			of += " due"
		}
		if save {
			of += " save"
		}
		all = append(all, of)
	}
}

func TestTake_GivesWhatIsDueInOrder(t *testing.T) {
	a := New[string](make(chan struct{}, 1))
	x, y, z := Of("x"), Of("y"), Of("z")
	a.Due(x, 5*s)
	a.Save(x, 10*s)
	a.Due(y, 3*s)
	a.Save(z, 4*s)
	a.Save(z, 7*s) // the earlier one stays
	if got := a.Next(); got != 3*s {
		t.Errorf("next %v", got)
	}
	if got := take(a, 2*s); got != nil {
		t.Errorf("too early: %v", got)
	}
	if got := take(a, 5*s); !slices.Equal(got, []string{"y due", "z save", "x due"}) {
		t.Errorf("got %v", got)
	}
	a.Due(x, 9*s)
	a.Due(x, Never)
	if got := take(a, 20*s); !slices.Equal(got, []string{"x save"}) {
		t.Errorf("got %v", got)
	}
	if got := a.Next(); got != Never {
		t.Errorf("an empty agenda has something at %v", got)
	}
	a.Due(x, 30*s)
	a.Save(x, 30*s)
	if got := take(a, 30*s); !slices.Equal(got, []string{"x due save"}) {
		t.Errorf("got %v", got)
	}
}

func TestWake_ComesOnlyForSomethingEarlier(t *testing.T) {
	wake := make(chan struct{}, 1)
	a := New[string](wake)
	woken := func() bool {
		select {
		case <-wake:
			return true
		default:
			return false
		}
	}
	x, y := Of("x"), Of("y")
	a.Due(x, 10*s)
	if !woken() {
		t.Error("not woken for the first")
	}
	a.Due(y, 20*s)
	if woken() {
		t.Error("woken for a later one")
	}
	a.Due(y, 5*s)
	if !woken() {
		t.Error("not woken for an earlier one")
	}
}

func TestStepped_MakesTimersDueAndLeavesSaves(t *testing.T) {
	a := New[string](make(chan struct{}, 1))
	x, y := Of("x"), Of("y")
	wall := time.Unix(1000, 0)
	a.Stepped(wall, 0)
	a.Due(x, 3600*s)
	a.Save(y, 10*s)
	a.Stepped(wall.Add(s+50*time.Millisecond), s) // a slewed clock is no step
	if got := take(a, s); got != nil {
		t.Errorf("without a step: %v", got)
	}
	a.Stepped(wall.Add(-time.Hour), 2*s)
	if got := take(a, 2*s); !slices.Equal(got, []string{"x due"}) {
		t.Errorf("after the step: %v", got)
	}
}

func TestAgenda_OrderHoldsUnderRandomChanges(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	a := New[int](make(chan struct{}, 1))
	var all []*Appointment[int]
	want := make(map[int]time.Duration)
	for i := range 200 {
		all = append(all, Of(i))
	}
	for range 5000 {
		i, at := random.IntN(len(all)), time.Duration(random.IntN(1000))*s
		if random.IntN(5) == 0 {
			a.Due(all[i], Never)
			delete(want, i)
			continue
		}
		a.Due(all[i], at)
		want[i] = at
	}
	last := time.Duration(0)
	for len(want) > 0 {
		i, due, _, ok := a.Take(1000 * s)
		if !ok || !due || want[i] < last {
			t.Fatalf("%d left, got %d at %v after %v", len(want), i, want[i], last)
		}
		last = want[i]
		delete(want, i)
	}
	if _, _, _, ok := a.Take(1000 * s); ok {
		t.Error("something is left over")
	}
}
