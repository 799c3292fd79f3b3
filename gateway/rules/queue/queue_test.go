package queue

import "testing"

func TestQueue_AFullOneDropsTheOldestAndNeverBlocks(t *testing.T) {
	const most = 1000
	q := New(0, func(*int) int { return 1 })
	for i := range most + 5 {
		if dropped := q.Put(i, most, 1<<20); len(dropped) > 0 && dropped[0] != i-most {
			t.Fatalf("put %d drops %v", i, dropped)
		}
	}
	for i := range most {
		if got, ok := q.Take(); !ok || got != i+5 {
			t.Fatalf("take %d gives %d, %v", i, got, ok)
		}
	}
	if q.Len() != 0 || q.bytes != 0 || q.items != nil {
		t.Errorf("an empty queue holds %+v", q)
	}
}

func TestQueue_TheNewestStaysHoweverBigItIs(t *testing.T) {
	q := New(4, func(n *int) int { return *n })
	q.Put(3, 10, 100)
	if dropped := q.Put(500, 10, 100); len(dropped) != 1 || dropped[0] != 3 {
		t.Errorf("dropped %v, want 3", dropped)
	}
	if got, ok := q.Take(); !ok || got != 500 {
		t.Errorf("got %d, %v; want 500", got, ok)
	}
}
