package outbound

import (
	"math"
	"slices"
	"sort"
)

// Sent is a message sent and not acknowledged.
type Sent[T any] struct {
	Item     T
	N        uint64 // its place in the session's order
	Received bool   // QoS 2: PUBREC came
	Released bool   // PUBREL may go out

	fresh bool // it was sent on this connection
	gone  bool // acknowledged; its slot goes with those before it
}

// ID is the packet id of the message.
func (s *Sent[T]) ID() uint16 { return PacketID(s.N) }

// Fresh reports whether the message was sent on this connection.
func (s *Sent[T]) Fresh() bool { return s.fresh }

// Window holds what is in flight by place. Acknowledgements usually come in
// order and take the front; one that comes early leaves an empty slot. Every
// operation costs the logarithm of the window at most, amortized. The zero
// value is empty.
//
// What it gives is valid until the next Add.
type Window[T any] struct {
	items []Sent[T] // from head on, by N
	head  int
	next  int // the first that was not sent on this connection
	live  int // not gone
	fresh int // of them sent on this connection
}

// Len is how many are in flight.
func (w *Window[T]) Len() int { return w.live }

// Fresh is how many of them were sent on this connection.
func (w *Window[T]) Fresh() int { return w.fresh }

// Free reports whether the packet id of place n is free: ids come round after
// 65,535 places, and must not meet one that is still out.
func (w *Window[T]) Free(n uint64) bool {
	if w.live == 0 {
		return true
	}
	first, last := w.items[w.head].N, w.items[len(w.items)-1].N
	return max(last, n)-min(first, n) < math.MaxUint16
}

// Add puts the message of a place in, usually behind all others. fresh: it was
// sent on this connection, and so was everything before it.
func (w *Window[T]) Add(n uint64, item T, fresh bool) *Sent[T] {
	if len(w.items) == cap(w.items) {
		w.compact()
	}
	at := len(w.items)
	for ; at > w.head && w.items[at-1].N > n; at-- {
		// After a restart what the client had received is here already, and what
		// lies between it is sent again.
	}
	w.items = slices.Insert(w.items, at, Sent[T]{Item: item, N: n, fresh: fresh})
	w.live++
	if fresh {
		w.fresh++
		w.next = len(w.items)
	}
	return &w.items[at]
}

// compact takes the empty slots out when they are half of all.
func (w *Window[T]) compact() {
	if w.live > len(w.items)/2 {
		return
	}
	kept := w.items[:0]
	next := 0
	for i := w.head; i < len(w.items); i++ {
		if w.items[i].gone {
			continue
		}
		kept = append(kept, w.items[i])
		if i < w.next {
			next = len(kept)
		}
	}
	clear(w.items[len(kept):])
	w.items, w.head, w.next = kept, 0, next
}

// First is the oldest; nil when nothing is in flight.
func (w *Window[T]) First() *Sent[T] {
	if w.live == 0 {
		return nil
	}
	return &w.items[w.head]
}

// Unsent is the first that was not sent on this connection, nil when all were.
func (w *Window[T]) Unsent() *Sent[T] {
	for ; w.next < len(w.items); w.next++ {
		if !w.items[w.next].gone {
			return &w.items[w.next]
		}
	}
	return nil
}

// MarkSent notes that what Unsent gave has been sent.
func (w *Window[T]) MarkSent() {
	w.items[w.next].fresh = true
	w.next++
	w.fresh++
}

// Restart begins a connection: nothing was sent on it.
func (w *Window[T]) Restart() {
	for i := w.head; i < len(w.items); i++ {
		w.items[i].fresh = false
	}
	w.next, w.fresh = w.head, 0
}

// Find gives the message of a packet id, nil when there is none.
func (w *Window[T]) Find(id uint16) *Sent[T] {
	if w.live == 0 || id == 0 {
		return nil
	}
	first := w.items[w.head].N
	ahead := (uint64(id-1) + math.MaxUint16 - first%math.MaxUint16) % math.MaxUint16
	return w.At(first + ahead)
}

// At gives the message of a place, nil when there is none.
func (w *Window[T]) At(n uint64) *Sent[T] {
	items := w.items[w.head:]
	if len(items) == 0 || n < items[0].N {
		return nil
	}
	// Places grow by one or more from slot to slot, so a slot is at most as far
	// from the first as its place is; without gaps it is exactly there.
	at := n - items[0].N
	if at >= uint64(len(items)) || items[at].N != n {
		end := min(at, uint64(len(items)))
		at = uint64(sort.Search(int(end), func(i int) bool { return items[i].N >= n }))
	}
	if at >= uint64(len(items)) || items[at].N != n || items[at].gone {
		return nil
	}
	return &items[at]
}

// Land takes s out, which this window gave.
func (w *Window[T]) Land(s *Sent[T]) T {
	item := s.Item
	if s.fresh {
		w.fresh--
	}
	*s = Sent[T]{N: s.N, gone: true}
	w.live--
	for w.head < len(w.items) && w.items[w.head].gone {
		w.head++
	}
	if w.head == len(w.items) {
		if used := len(w.items); worth(cap(w.items), used) {
			w.items, w.head, w.next = w.items[:0], 0, 0
		} else {
			w.items, w.head, w.next = nil, 0, 0
		}
	}
	w.next = max(w.next, w.head)
	return item
}

// Each gives what is in flight, in order, until f says false.
func (w *Window[T]) Each(f func(*Sent[T]) bool) {
	for i := w.head; i < len(w.items); i++ {
		if s := &w.items[i]; !s.gone && !f(s) {
			return
		}
	}
}
