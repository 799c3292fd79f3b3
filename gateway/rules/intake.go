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
