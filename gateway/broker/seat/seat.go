// Package seat lets the connections of one client id in one after another.
//
// Blocking: Lock waits for the one before, as sync.Mutex does. Limit: a seat
// exists while somebody holds it or waits for it.
package seat

import (
	"sync"

	"github.com/tidehold/tidehold/gateway/iot"
)

// Seats has a lock for each client id. The zero Seats is ready.
type Seats struct {
	mu   sync.Mutex
	open map[iot.ClientID]*seat
}

type seat struct {
	mu    sync.Mutex
	users int
}

// Lock takes the seat of id and gives its release.
func (t *Seats) Lock(id iot.ClientID) (release func()) {
	t.mu.Lock()
	s := t.open[id]
	if s == nil {
		if t.open == nil {
			t.open = make(map[iot.ClientID]*seat)
		}
		s = &seat{}
		t.open[id] = s
	}
	s.users++
	t.mu.Unlock()
	s.mu.Lock()
	return func() {
		s.mu.Unlock()
		t.mu.Lock()
		defer t.mu.Unlock()
		if s.users--; s.users == 0 {
			delete(t.open, id)
		}
	}
}
