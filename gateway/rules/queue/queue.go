// Package queue holds what waits in order, and gives up its oldest entries at
// its limits: a slow reader costs a bounded amount of memory, never its writer.
package queue

// Ring is a queue in order of arrival. It belongs to whoever holds the lock
// around it; nothing blocks.
type Ring[T any] struct {
	items []T
	head  int
	bytes int
	spare int
	size  func(*T) int
}

// New makes an empty Ring; while it is empty it keeps room for spare entries at
// most. size gives the bytes of an entry, the same at every call.
func New[T any](spare int, size func(*T) int) Ring[T] { return Ring[T]{spare: spare, size: size} }

// Len is how many entries wait.
func (q *Ring[T]) Len() int { return len(q.items) - q.head }

// Put adds v; dropped are the entries that had to go, oldest first, so that at
// most `most` entries and bytes stay. The newest always stays.
func (q *Ring[T]) Put(v T, most, bytes int) (dropped []T) {
	q.items = append(q.items, v)
	q.bytes += q.size(&q.items[len(q.items)-1])
	for q.Len() > 1 && (q.Len() > most || q.bytes > bytes) {
		old, _ := q.Take()
		dropped = append(dropped, old)
	}
	return dropped
}

// Take gives the oldest entry; false when nothing waits.
func (q *Ring[T]) Take() (v T, ok bool) {
	if q.Len() == 0 {
		return v, false
	}
	var none T
	q.bytes -= q.size(&q.items[q.head])
	v, q.items[q.head] = q.items[q.head], none
	q.head++
	switch {
	case q.head == len(q.items) && cap(q.items) > q.spare:
		q.items, q.head = nil, 0
	case q.head == len(q.items):
		q.items, q.head = q.items[:0], 0
	case q.head > 64 && q.head*2 > len(q.items): // the room in front would grow for ever
		rest := copy(q.items, q.items[q.head:])
		clear(q.items[rest:])
		q.items, q.head = q.items[:rest], 0
	}
	return v, true
}
