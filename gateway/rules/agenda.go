package rules

import (
	"container/heap"
	"sync"
	"time"

	"github.com/tidehold/tidehold/gateway/clock"
)

const (
	// restMax bounds how long the evaluator rests while a rule waits for a
	// time: the wall clock may be set meanwhile.
	restMax = time.Second
	// stepMin is a change between the clocks that counts as a step.
	stepMin = 200 * time.Millisecond
	// never is no time.
	never = time.Duration(1<<63 - 1)
)

// agenda says which rule has to do something next without a message: its
// timers are due, or its memory is to be stored. Times are of the steady clock.
type agenda struct {
	clock clock.Clock
	wake  chan struct{}

	mu     sync.Mutex
	heap   appointments
	offset time.Duration // of the wall clock to the steady one
}

// appointment are the times of one rule; the zero one is on no agenda.
type appointment struct {
	of        *runner
	due, save time.Duration
	place     int // in the heap, from 1
}

func (a *appointment) first() time.Duration { return min(a.due, a.save) }

func newAgenda(c clock.Clock) *agenda { return &agenda{clock: c, wake: make(chan struct{}, 1)} }

// due sets when the timers of r ring; never takes them off.
func (a *agenda) due(r *runner, at time.Duration) {
	a.change(r, func(p *appointment) { p.due = at })
}

// save asks that the memory of r is stored at the latest at a time.
func (a *agenda) save(r *runner, at time.Duration) {
	a.change(r, func(p *appointment) { p.save = min(p.save, at) })
}

func (a *agenda) change(r *runner, f func(*appointment)) {
	a.mu.Lock()
	p := &r.appointment
	before := a.next()
	f(p)
	switch first := p.first(); {
	case p.place > 0 && first == never:
		heap.Remove(&a.heap, p.place-1)
	case p.place > 0:
		heap.Fix(&a.heap, p.place-1)
	case first != never:
		heap.Push(&a.heap, p)
	}
	earlier := a.next() < before
	a.mu.Unlock()
	if earlier {
		rouse(a.wake)
	}
}

func (a *agenda) next() time.Duration {
	if len(a.heap) == 0 {
		return never
	}
	return a.heap[0].first()
}

// take gives a rule whose time has come, and which of its two times; they are
// off the agenda then.
func (a *agenda) take(up time.Duration) (r *runner, due, save bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.next() > up {
		return nil, false, false
	}
	p := a.heap[0]
	due, save = p.due <= up, p.save <= up
	if due {
		p.due = never
	}
	if save {
		p.save = never
	}
	if p.first() == never {
		heap.Pop(&a.heap)
	} else {
		heap.Fix(&a.heap, 0)
	}
	return p.of, due, save
}

// rest is how long there is nothing to do.
func (a *agenda) rest(up time.Duration) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	next := a.next()
	if next == never {
		return never
	}
	return max(0, min(restMax, next-up))
}

// stepped looks whether the wall clock was set since the last call; all timers
// are looked at again then.
func (a *agenda) stepped(wall time.Time, up time.Duration) {
	offset := time.Duration(wall.UnixNano()) - up
	a.mu.Lock()
	defer a.mu.Unlock()
	change := offset - a.offset
	if -stepMin < change && change < stepMin {
		return
	}
	a.offset = offset
	for _, p := range a.heap {
		if p.due != never {
			p.due = min(p.due, up)
		}
	}
	heap.Init(&a.heap)
}

// appointments is the heap.
type appointments []*appointment

// Len serves container/heap, as do the others.
func (h appointments) Len() int { return len(h) }

// Less puts the earlier one first.
func (h appointments) Less(i, j int) bool { return h[i].first() < h[j].first() }

// Swap exchanges two.
func (h appointments) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i+1, j+1
}

// Push adds one.
func (h *appointments) Push(x any) {
	p := x.(*appointment)
	*h = append(*h, p)
	p.place = len(*h)
}

// Pop takes the last one off.
func (h *appointments) Pop() any {
	old := *h
	p := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	p.place = 0
	return p
}
