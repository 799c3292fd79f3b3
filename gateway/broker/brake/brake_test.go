package brake

import (
	"testing"
	"time"
)

func waits(h *Hold) bool {
	if h == nil {
		return false
	}
	select {
	case <-h.Room():
		return false
	default:
		return true
	}
}

func TestBrake_EverybodyWaitsForTheSameRoom(t *testing.T) {
	var b Brake
	now := time.Unix(1000, 0)
	first, second := b.Press(now, now, true), b.Press(now, now.Add(Patience/4), true)
	if first != second || !waits(first) || !b.Pulled() {
		t.Fatal("two publishers do not wait for one room")
	}
	if left := second.Left(now.Add(Patience / 4)); left != Patience*3/4 {
		t.Errorf("the second may wait for %v more", left)
	}
	b.Release()
	if waits(first) || b.Pulled() {
		t.Error("they wait when there is room")
	}
	if !waits(b.Press(now, now, true)) {
		t.Error("nobody waits when it is full again")
	}
}

func TestBrake_NobodyWaitsForASilentSubscriber(t *testing.T) {
	var b Brake
	now := time.Unix(1000, 0)
	held := b.Press(now, now, true)
	if h := b.Press(now, now.Add(Stalled+1), true); h != nil || waits(held) || b.Pulled() {
		t.Error("somebody waits for one that says nothing")
	}
	now = now.Add(time.Second)
	if !waits(b.Press(now, now, true)) {
		t.Error("nobody waits for one that is heard again")
	}
}

func TestBrake_OneThatMakesNoRoomInTimeHoldsNobodyUntilItHasDrained(t *testing.T) {
	var b Brake
	now := time.Unix(1000, 0)
	held := b.Press(now, now, true)
	now = now.Add(Patience)
	for range 3 {
		if h := b.Press(now, now, true); h != nil || waits(held) {
			t.Fatal("somebody waits for one that makes no room")
		}
		now = now.Add(time.Second)
	}
	b.Release()
	if !waits(b.Press(now, now, true)) {
		t.Error("nobody waits for one that has drained")
	}
}

func TestBrake_OneThatNeverSaidAnythingIsWaitedForOnceAndBriefly(t *testing.T) {
	var b Brake
	now := time.Unix(1000, 0)
	held := b.Press(now, now, false)
	if !waits(held) || held.Left(now) != Trial {
		t.Fatalf("one that is new is waited for during %v", held.Left(now))
	}
	if h := b.Press(now, now.Add(Trial), false); h != nil || waits(held) {
		t.Error("somebody waits for one that does not begin")
	}
}
