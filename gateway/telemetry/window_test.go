package telemetry

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestWindow_GrowsWhileRoundTripsAreShortAndShrinksWhenNot(t *testing.T) {
	w := newWindow(0)
	for range windowStart {
		w.acked(50 * time.Millisecond)
	}
	if w.size() != 2*windowStart {
		t.Errorf("size %d after one full window", w.size())
	}
	for range 20 {
		for range w.size() {
			w.acked(55 * time.Millisecond)
		}
	}
	if w.size() != windowMax {
		t.Errorf("size %d, want the most", w.size())
	}
	for range 20 {
		for range w.size() {
			w.acked(500 * time.Millisecond)
		}
	}
	if w.size() != windowMin {
		t.Errorf("size %d, want the least", w.size())
	}
	if w := newWindow(7); w.size() != 7 {
		t.Errorf("fixed size %d", w.size())
	}
}

func TestBucket_NoSecondSeesMoreThanTheRate(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, rate := range []float64{0.5, 1, 3, 20, 100, 2000} {
		now := time.Unix(0, 0)
		b := newBucket(rate, now)
		var at []time.Time
		for now.Before(time.Unix(60, 0)) {
			if wait := b.wait(now); wait > 0 {
				now = now.Add(wait + time.Duration(rng.Int64N(int64(time.Millisecond))))
				continue
			}
			b.take(1)
			at = append(at, now)
			if rng.IntN(1+int(rate*10)) == 0 {
				now = now.Add(time.Duration(rng.Int64N(int64(2 * time.Second))))
			}
		}
		most := max(1, int(rate))
		for i := most; i < len(at); i++ {
			if at[i].Sub(at[i-most]) < time.Second-time.Millisecond {
				t.Fatalf("rate %v: %d within %v", rate, most+1, at[i].Sub(at[i-most]))
			}
		}
		if float64(len(at)) < rate*60*0.4 {
			t.Errorf("rate %v: only %d in a minute", rate, len(at))
		}
	}
	unlimited := newBucket(0, time.Unix(0, 0))
	unlimited.take(1e9)
	if unlimited.wait(time.Unix(0, 0)) != 0 {
		t.Error("no limit must not wait")
	}
}

func TestBucket_ALargeOneIsPaidBeforeTheNext(t *testing.T) {
	b := newBucket(1000, time.Unix(0, 0))
	b.take(5000)
	if wait := b.wait(time.Unix(0, 0)); wait < 4*time.Second || wait > 6*time.Second {
		t.Errorf("wait %v", wait)
	}
}

func TestTrouble_FindsThePoisonInFiveDrops(t *testing.T) {
	var tr trouble
	now := time.Unix(0, 0)
	for drop := 1; drop <= 5; drop++ {
		now = now.Add(time.Second)
		open := 20
		if tr.narrow() {
			open = 1
		}
		if poison := tr.lost(open, 7, 26, now); poison != (drop == 5) {
			t.Fatalf("drop %d: poison=%v, %+v", drop, poison, tr)
		}
	}
	if tr.narrow() {
		t.Error("the window stays narrow after the poison is gone")
	}
}

func TestTrouble_DropsFarApartAreNoPattern(t *testing.T) {
	var tr trouble
	now := time.Unix(0, 0)
	for range 20 {
		now = now.Add(2 * calm)
		if tr.lost(20, 7, 26, now) || tr.narrow() {
			t.Fatalf("%+v", tr)
		}
	}
}

func TestTrouble_WindowOpensAgainOnceTheSuspectsAreThrough(t *testing.T) {
	var tr trouble
	for i := range dropsMax {
		tr.lost(4, 7, 10, time.Unix(int64(i), 0))
	}
	for i := range 4 {
		if !tr.narrow() {
			t.Fatalf("open after %d", i)
		}
		tr.acked(20) // was not open at the loss: proves nothing
		tr.acked(7 + uint64(i))
	}
	if tr.narrow() {
		t.Error("still narrow")
	}
}

// TestTrouble_AcknowledgementsOfOthersDoNotClearASuspect: between two attempts
// at the suspect other messages may pass.
func TestTrouble_AcknowledgementsOfOthersDoNotClearASuspect(t *testing.T) {
	var tr trouble
	for i := range dropsMax {
		tr.lost(4, 7, 10, time.Unix(int64(i), 0))
	}
	for i := range suspectsMax {
		tr.acked(90)
		if poison := tr.lost(1, 7, 7, time.Unix(int64(10+i), 0)); poison != (i == suspectsMax-1) {
			t.Errorf("attempt %d: poison %v", i, poison)
		}
	}
}

func TestSpeed_FollowsTheRate(t *testing.T) {
	var s speed
	for i := range 600 {
		s.acked(time.Unix(0, 0).Add(time.Duration(i) * 50 * time.Millisecond))
	}
	if s.perSecond < 18 || s.perSecond > 22 {
		t.Errorf("%v per second, want 20", s.perSecond)
	}
}
