// Package outbound is what a session owes its client: the queue of messages
// that wait, and the window of those that were sent and not acknowledged.
//
// It is pure: nothing is locked, nothing blocks, no time is read. Order: a
// queue gives what came first, a window holds its messages by their places in
// the session's order. It has no limits of its own: the session asks Len and
// Bytes before it adds.
package outbound

import "math"

// PacketID follows from a message's place, so that a message has the same one
// after a restart and a client knows a QoS 2 message again.
func PacketID(n uint64) uint16 { return uint16(n%math.MaxUint16) + 1 }

// Queue holds what waits, in order. The zero value is empty.
type Queue[T any] struct {
	items []T // from head on
	head  int
	bytes int
}

// An empty queue keeps room for keepCap items, and for up to burstCap as long as
// it needs a quarter of it each time: bursts of the same size follow each other,
// and room made anew for each is the most of all garbage.
const (
	keepCap  = 256
	burstCap = 4096
)

// worth reports whether room for so many is kept by one that used this much of it.
func worth(room, used int) bool {
	return room <= keepCap || room <= burstCap && used >= room/4
}

// Len is how many wait.
func (q *Queue[T]) Len() int { return len(q.items) - q.head }

// Bytes is what they count for.
func (q *Queue[T]) Bytes() int { return q.bytes }

// Push adds an item that counts for size bytes at the end.
func (q *Queue[T]) Push(item T, size int) {
	if q.head > 32 && q.head > len(q.items)/2 {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, item)
	q.bytes += size
}

// First is the head; the queue is not empty. It is valid until the next call.
func (q *Queue[T]) First() *T { return &q.items[q.head] }

// Pop takes the head out, which counted for size bytes.
func (q *Queue[T]) Pop(size int) T {
	item := q.items[q.head]
	var none T
	q.items[q.head] = none
	q.head++
	q.bytes -= size
	if q.head == len(q.items) {
		if used := len(q.items); worth(cap(q.items), used) {
			q.items, q.head = q.items[:0], 0
		} else {
			q.items, q.head = nil, 0
		}
	}
	return item
}

// Each gives the items in order until f says false.
func (q *Queue[T]) Each(f func(*T) bool) {
	for i := q.head; i < len(q.items); i++ {
		if !f(&q.items[i]) {
			return
		}
	}
}
