package keep

import (
	"math/rand/v2"
	"reflect"
	"testing"
)

func TestProgress_TellsWhatIsDone(t *testing.T) {
	for _, c := range []struct {
		next uint64
		here []uint64
		low  uint64
		done [][2]uint64
	}{
		{0, nil, 0, nil},
		{7, nil, 7, nil},
		{7, []uint64{7}, 7, nil},
		{7, []uint64{3, 4, 5}, 3, nil},
		{7, []uint64{3, 7}, 3, [][2]uint64{{4, 7}}},
		{9, []uint64{6, 2, 5, 9}, 2, [][2]uint64{{3, 5}, {7, 9}}},
	} {
		p := Progress{Next: c.next}
		p.Set(c.here)
		if p.Low != c.low || !reflect.DeepEqual(p.Done, c.done) {
			t.Errorf("%v of %d: low %d, done %v; want %d, %v", c.here, c.next, p.Low, p.Done, c.low, c.done)
		}
	}
}

// Everything below Next is either here or done, whatever is here.
func TestProgress_EveryPlaceIsHereOrDone(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		next := random.Uint64N(40)
		here, places := make(map[uint64]bool), []uint64{next}
		for n := range next {
			if random.IntN(3) == 0 {
				here[n] = true
				places = append(places, n)
			}
		}
		random.Shuffle(len(places), func(i, j int) { places[i], places[j] = places[j], places[i] })
		p := Progress{Next: next}
		p.Set(places)
		for n := range next {
			if p.Finished(n) == here[n] {
				t.Fatalf("next %d, here %v: place %d finished %v; %+v", next, here, n, p.Finished(n), p)
			}
		}
	}
	if none := (*Progress)(nil); none.Finished(3) {
		t.Error("without progress nothing is done")
	}
}
