package bucket

import (
	"testing"
	"time"
)

var start = time.Unix(1_000_000_000, 0)

// takes counts how many of n tries at one time get a token.
func takes(n int, take func() bool) (got int) {
	for range n {
		if take() {
			got++
		}
	}
	return got
}

func TestBucket_GivesABurstAndThenItsRate(t *testing.T) {
	var b Bucket
	for _, c := range []struct {
		at   time.Duration
		want int
	}{{0, 20}, {0, 0}, {time.Second, 5}, {time.Second + 100*time.Millisecond, 0}, {time.Hour, 20}, {time.Minute, 0}} {
		if got := takes(100, func() bool { return b.Take(start.Add(c.at), 5, 20) }); got != c.want {
			t.Errorf("at %v: %d tokens, want %d", c.at, got, c.want)
		}
	}
}

func TestBucket_ARefusalCostsNothing(t *testing.T) {
	var b Bucket
	takes(1000, func() bool { return b.Take(start, 1, 2) })
	if !b.Take(start.Add(time.Second), 1, 2) {
		t.Error("who was refused often has to wait longer")
	}
}

func TestBucket_SpendTellsHowLongADebtLasts(t *testing.T) {
	b, now := Bucket{}, start
	for _, c := range []struct {
		after time.Duration
		n     float64
		want  time.Duration
	}{{0, 200, 0}, {0, 100, time.Second}, {time.Second, 100, time.Second}, {3 * time.Second, 50, -1500 * time.Millisecond}} {
		now = now.Add(c.after)
		if got := b.Spend(now, 100, 200, c.n); got != c.want {
			t.Errorf("%v tokens: wait %v, want %v", c.n, got, c.want)
		}
	}
	if b.Spend(now, 0, 0, 1e9) != 0 {
		t.Error("a rate of 0 is a limit")
	}
}

func TestShelf_KeysDoNotShareTokens(t *testing.T) {
	s := Shelf[string]{Rate: 1, Burst: 2, Max: 10}
	for _, key := range []string{"a", "b"} {
		if got := takes(5, func() bool { return s.Take(key, start) }); got != 2 {
			t.Errorf("%s: %d tokens, want 2", key, got)
		}
	}
}

// TestShelf_IsBoundedAndForgetsWhoIsIdle: beyond Max a key passes, and as soon as
// others are idle it has a bucket of its own.
func TestShelf_IsBoundedAndForgetsWhoIsIdle(t *testing.T) {
	s := Shelf[int]{Rate: 1, Burst: 2, Max: 3}
	for key := range 100 {
		if !s.Take(key, start) {
			t.Errorf("key %d: no token at its first try", key)
		}
	}
	if s.Len() != 3 {
		t.Errorf("%d keys, want 3", s.Len())
	}
	if got := takes(5, func() bool { return s.Take(99, start) }); got != 5 {
		t.Errorf("a key without room got %d tokens of 5", got)
	}
	later := start.Add(time.Minute)
	if got := takes(5, func() bool { return s.Take(99, later) }); got != 2 || s.Len() != 1 {
		t.Errorf("a key with room got %d tokens, want 2; %d keys", got, s.Len())
	}
}
