package ban

import (
	"testing"
	"time"
)

func TestBook_EachBanIsLongerUpToAnHourAndEnds(t *testing.T) {
	var b Book[string]
	now := time.Unix(1000, 0)
	for ban := Min; ; ban = min(2*ban, Max) {
		for n := range FailuresMax {
			if left := b.Left("bad", now); left != 0 {
				t.Fatalf("ban of %v: banned for %v after %d failures", ban, left, n)
			}
			if banned := b.Failed("bad", now); banned != (n == FailuresMax-1) {
				t.Fatalf("ban of %v: failure %d said %v", ban, n+1, banned)
			}
		}
		if left := b.Left("bad", now); left != ban || b.Left("good", now) != 0 {
			t.Fatalf("banned for %v; want %v", left, ban)
		}
		if now = now.Add(ban); ban == Max {
			return
		}
	}
}

func TestBook_SlowFailuresAreSpared(t *testing.T) {
	var b Book[string]
	now := time.Unix(1000, 0)
	for range 3 * FailuresMax {
		if b.Failed("slow", now) {
			t.Fatal("banned")
		}
		now = now.Add(Window/FailuresMax + Window/20)
	}
}

func TestBook_MemoryIsBoundedAndWhoIsBannedIsKept(t *testing.T) {
	var b Book[int]
	now := time.Unix(1000, 0)
	ban := func(key int) {
		for range FailuresMax {
			b.Failed(key, now)
		}
	}
	ban(0)
	for key := range 2 * OffendersMax {
		b.Failed(1+key, now)
		now = now.Add(time.Millisecond)
	}
	if len(b.seen) > OffendersMax || b.Left(0, now) == 0 {
		t.Errorf("%d remembered; the first is banned for %v", len(b.seen), b.Left(0, now))
	}
	for key := range 2 * OffendersMax {
		ban(100_000 + key)
		now = now.Add(time.Millisecond)
	}
	if len(b.seen) > OffendersMax || b.Left(0, now) == 0 {
		t.Errorf("%d remembered when all are banned; the first for %v", len(b.seen), b.Left(0, now))
	}
	if b.Failed(-1, now.Add(3*Max)); len(b.seen) != 1 {
		t.Errorf("%d remembered after all had their time", len(b.seen))
	}
}
