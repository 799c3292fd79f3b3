package pace

import (
	"testing"
	"time"
)

func TestDelay_DoublesFromOneSecondToSixty(t *testing.T) {
	for failures, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 6: 32 * time.Second, 7: time.Minute, 1000: time.Minute} {
		if got := Delay(failures, 0.9999999); got > want || got < want*99/100 {
			t.Errorf("after %d failures %v, want just below %v", failures, got, want)
		}
	}
	if Delay(5, 0) != 0 {
		t.Error("jitter is full: it begins at 0")
	}
}

func TestOffset_AJumpDuringAnOutageIsDoubtful(t *testing.T) {
	now := time.Unix(1000, 0)
	var o Offset
	if !o.Doubtful() {
		t.Error("nothing measured is not certain")
	}
	o = o.Connect().Measure(now.Add(2*time.Second), now, true)
	if o.Doubtful() || o.Amount() != 2*time.Second {
		t.Errorf("doubtful %v, amount %v", o.Doubtful(), o.Amount())
	}
	if o.Connect().Measure(now.Add(4*time.Second), now, true).Doubtful() {
		t.Error("2 s more are no jump")
	}
	if !o.Connect().Measure(now.Add(time.Minute), now, true).Doubtful() {
		t.Error("a minute more is a jump")
	}
	if !(Offset{}).Connect().Measure(now, now, false).Doubtful() {
		t.Error("a clock that was never set is in doubt")
	}
}
