package cache

import (
	"errors"
	"strconv"
	"testing"
)

func TestGet_ReadsOnceAndForgetsTheLeastRecentlyUsed(t *testing.T) {
	reads := 0
	read := func(text string) (int, error) { reads++; return strconv.Atoi(text) }
	var l LRU[int]
	for range 2 {
		for i := range Max {
			if v, ok := l.Get(strconv.Itoa(i), read); !ok || v != i {
				t.Fatalf("Get(%d) = %d, %v", i, v, ok)
			}
		}
	}
	if reads != Max {
		t.Errorf("%d reads, want %d", reads, Max)
	}
	l.Get("0", read)   // the next one to go is 1
	l.Get("new", read) // has no value, and is remembered so
	if _, ok := l.Get("new", func(string) (int, error) { return 0, errors.New("read again") }); ok || reads != Max+1 {
		t.Errorf("a text without a value: ok %v, %d reads", ok, reads)
	}
	l.Get("0", read)
	l.Get("1", read)
	if reads != Max+2 {
		t.Errorf("%d reads, want %d: 1 must be forgotten, 0 not", reads, Max+2)
	}
	if n := testing.AllocsPerRun(100, func() { l.Get("0", read) }); n != 0 {
		t.Errorf("%v allocations for a known text", n)
	}
}
