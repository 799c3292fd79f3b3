package outbound

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
)

func TestQueue_GivesInOrderWhatItWasGiven(t *testing.T) {
	var q Queue[int]
	next, want := 0, 0
	for step := range 10000 {
		for range step % 7 {
			q.Push(next, 10)
			next++
		}
		for q.Len() > 0 && step%3 > 0 {
			if got := *q.First(); got != want || q.Pop(10) != want {
				t.Fatalf("got %d, want %d", got, want)
			}
			want++
		}
		if q.Bytes() != 10*q.Len() || q.Len() != next-want {
			t.Fatalf("%d bytes in %d items, want %d items", q.Bytes(), q.Len(), next-want)
		}
	}
}

// TestWindow_KeepsWhatASimpleListWouldKeep compares with a slice, over random
// gaps, acknowledgements out of order, and new connections.
func TestWindow_KeepsWhatASimpleListWouldKeep(t *testing.T) {
	type sent struct {
		n     uint64
		fresh bool
	}
	rnd := rand.New(rand.NewPCG(3, 7))
	for round := range 200 {
		var w Window[uint64]
		var list []sent
		n := rnd.Uint64N(200000)
		unsent := func() int { return slices.IndexFunc(list, func(s sent) bool { return !s.fresh }) }
		for range 400 {
			switch at := unsent(); {
			case at >= 0 && rnd.IntN(2) == 0:
				if w.Unsent().N != list[at].n {
					t.Fatalf("round %d: unsent %d, want %d", round, w.Unsent().N, list[at].n)
				}
				w.MarkSent()
				list[at].fresh = true
			case at < 0 && rnd.IntN(2) == 0:
				if n += 1 + rnd.Uint64N(1+rnd.Uint64N(40)); w.Free(n) {
					w.Add(n, n*2, true)
					list = append(list, sent{n, true})
				}
			case len(list) > 0 && rnd.IntN(20) > 0:
				i := rnd.IntN(1 + rnd.IntN(len(list)))
				s := w.Find(PacketID(list[i].n))
				if s == nil || s.N != list[i].n || w.Land(s) != list[i].n*2 {
					t.Fatalf("round %d: place %d is not found by its id", round, list[i].n)
				}
				if w.At(list[i].n) != nil {
					t.Fatalf("round %d: place %d is there after it landed", round, list[i].n)
				}
				list = slices.Delete(list, i, i+1)
			default:
				w.Restart()
				for i := range list {
					list[i].fresh = false
				}
			}
			var got []sent
			fresh := 0
			w.Each(func(s *Sent[uint64]) bool {
				got = append(got, sent{s.N, s.fresh})
				if s.fresh {
					fresh++
				}
				return true
			})
			if !slices.Equal(got, list) || w.Len() != len(list) || w.Fresh() != fresh {
				t.Fatalf("round %d: %v, want %v; len %d, fresh %d of %d", round, got, list, w.Len(), w.Fresh(), fresh)
			}
			if first := w.First(); (first == nil) != (len(list) == 0) || first != nil && first.N != list[0].n {
				t.Fatalf("round %d: first is %v of %v", round, first, list)
			}
		}
	}
}

func TestWindow_AnIDIsNotUsedTwice(t *testing.T) {
	var w Window[int]
	w.Add(10, 0, true)
	if !w.Free(10+65534) || w.Free(10+65535) {
		t.Error("the id of a message that is out is free, or that before it is not")
	}
	w.Add(70, 0, true)
	w.Land(w.At(10))
	if !w.Free(10+65535) || w.Find(0) != nil || w.Find(PacketID(10)) != nil {
		t.Error("the id of a message that landed is not free")
	}
}

func TestWindow_TakesWhatLiesBetweenItsMessages(t *testing.T) {
	var w Window[int]
	for _, n := range []uint64{5, 9} {
		w.Add(n, 0, false)
		w.MarkSent()
	}
	if !w.Free(7) || !w.Free(2) {
		t.Error("a place between or before those in flight has no free id")
	}
	for _, n := range []uint64{7, 2, 10} {
		w.Add(n, 0, true)
	}
	var got []uint64
	w.Each(func(s *Sent[int]) bool { got = append(got, s.N); return true })
	if !slices.Equal(got, []uint64{2, 5, 7, 9, 10}) || w.Unsent() != nil || w.Fresh() != 5 {
		t.Errorf("places %v, %d fresh", got, w.Fresh())
	}
	for _, n := range got {
		if s := w.Find(PacketID(n)); s == nil || s.N != n {
			t.Errorf("place %d is not found", n)
		}
	}
}

// TestWindow_OneLateAcknowledgementCostsNoMemory lets everything overtake the
// first message.
func TestWindow_OneLateAcknowledgementCostsNoMemory(t *testing.T) {
	var w Window[int]
	w.Add(0, 0, true)
	for n := uint64(1); n < 60000; n++ {
		w.Add(n, 0, true)
		w.Land(w.At(n))
	}
	if c := cap(w.items); c > 64 || w.Len() != 1 {
		t.Errorf("room for %d to hold %d", c, w.Len())
	}
}

func TestWindow_AnAcknowledgementNeedsNoAllocation(t *testing.T) {
	var w Window[[8]uint64]
	for n := range uint64(100) {
		w.Add(n, [8]uint64{}, true)
	}
	n := uint64(100)
	if got := testing.AllocsPerRun(10000, func() {
		w.Add(n, [8]uint64{}, true)
		w.Land(w.Find(w.First().ID()))
		n++
	}); got > 0 {
		t.Errorf("%v allocations, want none", got)
	}
}

// BenchmarkWindow_Ack adds one message and acknowledges one, with so many in
// flight; last: always the newest, the worst for a list.
func BenchmarkWindow_Ack(b *testing.B) {
	for _, size := range []int{1, 100, 1000, 60000} {
		for _, last := range []bool{false, true} {
			name := map[bool]string{false: "first", true: "last"}[last]
			b.Run(name+"/"+strconv.Itoa(size), func(b *testing.B) {
				var w Window[[8]uint64]
				n := uint64(0)
				for ; n < uint64(size-1); n++ {
					w.Add(n, [8]uint64{}, true)
				}
				b.ReportAllocs()
				for b.Loop() {
					w.Add(n, [8]uint64{}, true)
					id := PacketID(n)
					if !last {
						id = w.First().ID()
					}
					w.Land(w.Find(id))
					for n++; !w.Free(n); {
						w.Land(w.First())
					}
				}
			})
		}
	}
}
