package ring

import (
	"testing"

	"github.com/tidehold/tidehold/gateway/messages/block"
)

func of(id int64, size int) *block.Block {
	return &block.Block{ID: id, Recs: []block.Record{{Payload: make([]byte, size)}}}
}

func TestTrim_TheFullestLosesItsOldestAndStartSaysSo(t *testing.T) {
	rings := make([]Ring, 2)
	for id := range int64(4) {
		rings[0].Push(of(id+1, 1000))
	}
	rings[1].Push(of(100, 1000))
	Trim(rings, 4000)
	if rings[0].Start != 2 || rings[1].Start != 0 {
		t.Errorf("starts %d and %d, want 2 and 0", rings[0].Start, rings[1].Start)
	}
	if b := rings[0].Next(2, 100); b == nil || b.ID != 3 {
		t.Errorf("next after 2 is %v", b)
	}
	if b := rings[0].Next(2, 3); b != nil {
		t.Errorf("next before 3 is %v", b)
	}
	rings[0].Remove(3)
	if b := rings[0].Next(2, 100); b == nil || b.ID != 4 {
		t.Errorf("next after the removed one is %v", b)
	}
	Trim(rings, 0)
	if rings[0].Next(0, 100) != nil || rings[0].bytes != 0 || rings[1].bytes != 0 {
		t.Errorf("something is left: %+v", rings)
	}
}

func TestPut_TakesItsPlaceByIdUnlessItIsTooOldForTheRing(t *testing.T) {
	r := Ring{Start: 2}
	r.Push(of(3, 10))
	r.Push(of(9, 10))
	r.Put(of(5, 10))
	r.Put(of(2, 10))
	for after, want := range map[int64]int64{2: 3, 3: 5, 5: 9} {
		if b := r.Next(after, 100); b == nil || b.ID != want {
			t.Errorf("after %d comes %v, want %d", after, b, want)
		}
	}
	if b := r.Next(0, 3); b != nil {
		t.Errorf("block %d is below the start", b.ID)
	}
}
