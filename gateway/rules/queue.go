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
	q.bytes += q.size(&v)
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
	v, q.items[q.head] = q.items[q.head], none
	q.head++
	q.bytes -= q.size(&v)
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

// arrival is a message on its way to evaluation; rule is set by Basic Ingest.
type arrival struct {
	message iot.Message
	rule    string
}

// batchMax is how many messages the evaluator takes at once.
const batchMax = 256

// intake holds messages until the evaluator comes.
type intake struct {
	mu      sync.Mutex
	waiting ring[arrival]
	wake    chan struct{}
}

func newIntake() *intake {
	return &intake{
		waiting: ring[arrival]{spare: 1024, size: func(a *arrival) int { return len(a.message.Payload) }},
		wake:    make(chan struct{}, 1),
	}
}

// put never waits; it gives how many messages had to go.
func (in *intake) put(m *iot.Message, rule string) (dropped int) {
	in.mu.Lock()
	dropped = len(in.waiting.put(arrival{*m, rule}, IntakeMax, IntakeBytes))
	in.mu.Unlock()
	rouse(in.wake)
	return dropped
}

// take moves what waits into batch, at most batchMax messages.
func (in *intake) take(batch []arrival) []arrival {
	in.mu.Lock()
	defer in.mu.Unlock()
	for len(batch) < batchMax {
		a, ok := in.waiting.take()
		if !ok {
			break
		}
		batch = append(batch, a)
	}
	return batch
}

// rouse wakes whoever waits for c, once.
func rouse(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
