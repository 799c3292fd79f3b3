package told

import (
	"sync"
	"testing"
	"testing/synctest"

	"github.com/tidehold/tidehold/gateway/messages/tail"
)

// TestTell_OneCallerAtATimeInOrder has a second caller come while the first is in
// a done function: it leaves the rest to the first, and Await waits for that.
func TestTell_OneCallerAtATimeInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var got []uint64
		gate := make(chan struct{})
		queue := make([]*tail.Entry, 0, 3)
		for n := range uint64(3) {
			queue = append(queue, &tail.Entry{Last: n + 1, Done: func(error) {
				<-gate
				got = append(got, n+1)
			}})
		}
		ready := func() (one []*tail.Entry) {
			if len(queue) > 0 {
				one, queue = queue[:1], queue[1:]
			}
			return one
		}
		teller := New(&mu)
		go teller.Tell(ready)
		synctest.Wait()
		teller.Tell(ready)
		if len(queue) != 2 {
			t.Fatalf("%d entries wait: the second caller took some", len(queue))
		}
		waited := false
		go func() { teller.Await(2); waited = true }()
		gate <- struct{}{}
		synctest.Wait()
		if waited {
			t.Error("Await(2) ended after the first")
		}
		close(gate)
		synctest.Wait()
		if !waited || len(got) != 3 || got[0] != 1 || got[1] != 2 || got[2] != 3 {
			t.Errorf("called %v, waited %v", got, waited)
		}
	})
}

func TestAwait_NobodyTelling(t *testing.T) {
	New(&sync.Mutex{}).Await(7)
}
