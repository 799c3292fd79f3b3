package rules

import (
	"sync"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/rules/action"
)

// Limits of queues.
const (
	// IntakeMax and IntakeBytes bound the messages that wait for evaluation.
	IntakeMax   = 10_000
	IntakeBytes = 32 << 20
	// QueueMax and QueueBytes bound what waits for one rule.
	QueueMax   = 1000
	QueueBytes = 8 << 20
	// ResultsMax and ResultsBytes bound the results of one rule that are kept
	// until they have been performed.
	ResultsMax   = 10_000
	ResultsBytes = 32 << 20
	// HopsMax is how many rules a message may pass through.
	HopsMax = action.HopsMax
)

// ring is a queue that gives up its oldest entries at its limits. It belongs
// to whoever holds the lock around it. An empty one keeps room for spare
// entries at most.
type ring[T any] struct {
	items []T
	head  int
	bytes int
	spare int
	size  func(*T) int
}

func (q *ring[T]) len() int { return len(q.items) - q.head }

// put adds v; dropped are the entries that had to go, oldest first.
func (q *ring[T]) put(v T, most, bytes int) (dropped []T) {
	q.items = append(q.items, v)
	q.bytes += q.size(&q.items[len(q.items)-1])
	for q.len() > 1 && (q.len() > most || q.bytes > bytes) {
		old, _ := q.take()
		dropped = append(dropped, old)
	}
	return dropped
}

func (q *ring[T]) take() (v T, ok bool) {
	if q.len() == 0 {
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

// arrival is a message on its way to evaluation.
type arrival struct {
	message iot.Message
	// rule is the one rule that the message concerns; nil when several do.
	rule *runner
}

// spareMax is for how many messages the intake keeps room while it is empty.
const spareMax = 1024

// intake holds messages until the evaluator comes.
type intake struct {
	wake chan struct{}

	mu      sync.Mutex
	waiting []arrival
	head    int
	bytes   int
	spare   []arrival
}

// put never waits; it gives how many messages had to go.
func (in *intake) put(m *iot.Message, rule *runner) (dropped int) {
	in.mu.Lock()
	first := in.head == len(in.waiting)
	in.waiting = append(in.waiting, arrival{*m, rule})
	in.bytes += len(m.Payload)
	for n := len(in.waiting) - in.head; n > 1 && (n > IntakeMax || in.bytes > IntakeBytes); n-- {
		in.bytes -= len(in.waiting[in.head].message.Payload)
		in.waiting[in.head] = arrival{}
		in.head++
		dropped++
	}
	if in.head > IntakeMax {
		rest := copy(in.waiting, in.waiting[in.head:])
		clear(in.waiting[rest:])
		in.waiting, in.head = in.waiting[:rest], 0
	}
	in.mu.Unlock()
	if first {
		rouse(in.wake)
	}
	return dropped
}

// take gives everything that waits; done gives the slice back. Only the
// evaluator calls them.
func (in *intake) take() []arrival {
	in.mu.Lock()
	defer in.mu.Unlock()
	all := in.waiting[in.head:]
	in.waiting, in.head, in.bytes = in.spare, 0, 0
	in.spare = nil
	return all
}

func (in *intake) done(all []arrival) {
	clear(all)
	if cap(all) <= spareMax {
		in.spare = all[:0]
	}
}

// rouse wakes whoever waits for c, once.
func rouse(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
