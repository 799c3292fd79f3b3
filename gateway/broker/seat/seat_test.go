package seat

import (
	"sync"
	"testing"
)

func TestSeats_OneAtATimeAndNothingStays(t *testing.T) {
	var seats Seats
	var all sync.WaitGroup
	inside := 0 // the race detector and the count prove that the seat is a lock
	for range 50 {
		all.Go(func() {
			defer seats.Lock("c")()
			inside++
		})
	}
	other := seats.Lock("d") // another id does not wait
	all.Wait()
	other()
	if inside != 50 || len(seats.open) != 0 {
		t.Errorf("%d came in, %d seats stay", inside, len(seats.open))
	}
}
