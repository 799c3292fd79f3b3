// Package told calls the done functions of a message log.
//
// Order: that of the entries it is given, one at a time, whoever calls Tell.
// Blocking: Tell calls done functions, unless somebody else is at it; Await waits
// for whoever is. Done functions run without the owner's lock. It holds nothing
// itself: what waits is the owner's, and bounded there.
package told

import (
	"sync"

	"github.com/tidehold/tidehold/gateway/messages/tail"
)

// Teller is used under the lock of its owner, which every method takes itself.
type Teller struct {
	mu      *sync.Mutex
	hush    *sync.Cond // upTo grew, or nobody is telling any more
	telling bool
	upTo    uint64
}

// New makes a teller for the owner of mu.
func New(mu *sync.Mutex) *Teller { return &Teller{mu: mu, hush: sync.NewCond(mu)} }

// Tell calls the done functions of what ready takes, until it takes nothing more;
// ready is called under the lock. It does nothing while another call is at it.
func (t *Teller) Tell(ready func() []*tail.Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.telling {
		return
	}
	t.telling = true
	for all := ready(); len(all) > 0; all = ready() {
		t.mu.Unlock()
		for _, e := range all {
			e.Done(nil)
		}
		t.mu.Lock()
		t.upTo = all[len(all)-1].Last
		t.hush.Broadcast()
	}
	t.telling = false
	t.hush.Broadcast()
}

// Await waits until the done functions up to a number were called, or nobody is
// calling any.
func (t *Teller) Await(seq uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.telling && t.upTo < seq {
		t.hush.Wait()
	}
}
