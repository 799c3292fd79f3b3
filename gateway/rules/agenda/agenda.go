// Package agenda orders what has to be done without anybody asking: timers that
// ring, and memories that are to be stored.
//
// Times are of the steady clock. A step of the wall clock, which Stepped sees,
// makes every timer due, so that its owner looks again. An Agenda may be used
// by any goroutine and never blocks.
package agenda

import (
	"container/heap"
	"sync"
	"time"
)

// Never is no time.
const Never = time.Duration(1<<63 - 1)

// stepMin is a change between the clocks that counts as a step.
const stepMin = 200 * time.Millisecond

// Agenda says who has to do something next.
type Agenda[T any] struct {
	wake chan struct{}

	mu     sync.Mutex
	heap   appointments[T]
	offset time.Duration // of the wall clock to the steady one
}

// Appointment are the times of one owner. It belongs to one Agenda.
type Appointment[T any] struct {
	of        T
	due, save time.Duration
	place     int // in the heap, from 1
}

// Of makes an Appointment without a time.
func Of[T any](owner T) *Appointment[T] { return &Appointment[T]{of: owner, due: Never, save: Never} }

func (p *Appointment[T]) first() time.Duration { return min(p.due, p.save) }

// New makes an empty Agenda. wake has room for one, and gets something when the
// first time on the agenda has become earlier.
func New[T any](wake chan struct{}) *Agenda[T] { return &Agenda[T]{wake: wake} }

// Due sets when the timers of p's owner ring; Never takes them off.
func (a *Agenda[T]) Due(p *Appointment[T], at time.Duration) {
	a.change(p, func() { p.due = at })
}

// Save asks that the memory of p's owner is stored at the latest at a time.
func (a *Agenda[T]) Save(p *Appointment[T], at time.Duration) {
	a.change(p, func() { p.save = min(p.save, at) })
}

func (a *Agenda[T]) change(p *Appointment[T], f func()) {
	a.mu.Lock()
	before := a.next()
	f()
	switch first := p.first(); {
	case p.place > 0 && first == Never:
		heap.Remove(&a.heap, p.place-1)
	case p.place > 0:
		heap.Fix(&a.heap, p.place-1)
	case first != Never:
		heap.Push(&a.heap, p)
	}
	earlier := a.next() < before
	a.mu.Unlock()
	if !earlier {
		return
	}
	select {
	case a.wake <- struct{}{}:
	default: // awake already
	}
}

func (a *Agenda[T]) next() time.Duration {
	if len(a.heap) == 0 {
		return Never
	}
	return a.heap[0].first()
}

// Take gives an owner whose time has come, and which of its two times; they are
// off the agenda then. ok is false when nothing is due.
func (a *Agenda[T]) Take(up time.Duration) (of T, due, save, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.next() > up {
		return of, false, false, false
	}
	p := a.heap[0]
	due, save = p.due <= up, p.save <= up
	if due {
		p.due = Never
	}
	if save {
		p.save = Never
	}
	if p.first() == Never {
		heap.Pop(&a.heap)
	} else {
		heap.Fix(&a.heap, 0)
	}
	return p.of, due, save, true
}

// Next is when there is something to do; Never when there is not.
func (a *Agenda[T]) Next() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.next()
}

// Stepped looks whether the wall clock was set since the last call; all timers
// are looked at again then.
func (a *Agenda[T]) Stepped(wall time.Time, up time.Duration) {
	offset := time.Duration(wall.UnixNano()) - up
	a.mu.Lock()
	defer a.mu.Unlock()
	change := offset - a.offset
	if -stepMin < change && change < stepMin {
		return
	}
	a.offset = offset
	for _, p := range a.heap {
		if p.due != Never {
			p.due = min(p.due, up)
		}
	}
	heap.Init(&a.heap)
}

// appointments is the heap.
type appointments[T any] []*Appointment[T]

// Len serves container/heap, as do the others.
func (h appointments[T]) Len() int { return len(h) }

// Less puts the earlier one first.
func (h appointments[T]) Less(i, j int) bool { return h[i].first() < h[j].first() }

// Swap exchanges two.
func (h appointments[T]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i+1, j+1
}

// Push adds one.
func (h *appointments[T]) Push(x any) {
	p := x.(*Appointment[T])
	*h = append(*h, p)
	p.place = len(*h)
}

// Pop takes the last one off.
func (h *appointments[T]) Pop() any {
	old := *h
	p := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	p.place = 0
	return p
}
