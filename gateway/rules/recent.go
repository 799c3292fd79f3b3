package rules

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/topic"
)

// Limits of the messages that are remembered for trials.
const (
	recentMax      = 64
	recentBytesMax = 16 << 10
	// One message in sampleEvery is remembered in the long run, sampleBurst at
	// once.
	sampleEvery = 5 * time.Millisecond
	sampleBurst = 64
)

// recent remembers real messages, for trials of statements: of each topic the
// latest, of the topics those heard last.
type recent struct {
	next atomic.Int64 // by the steady clock: when the samples taken so far were due

	mu   sync.Mutex
	last []iot.Message // the latest last
}

// sample remembers a message, now and then: of a busy house not every one.
func (r *recent) sample(m *iot.Message, up time.Duration) {
	due := r.next.Load()
	if due > int64(up+sampleBurst*sampleEvery) || len(m.Payload) > recentBytesMax || !r.next.CompareAndSwap(due, max(due, int64(up))+int64(sampleEvery)) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.last, func(other iot.Message) bool { return other.Topic == m.Topic })
	switch {
	case i >= 0:
		r.last = slices.Delete(r.last, i, i+1)
	case len(r.last) >= recentMax:
		r.last = slices.Delete(r.last, 0, 1)
	}
	r.last = append(r.last, *m)
}

// find gives the latest message that a filter covers.
func (r *recent) find(covers func(name string) bool) (iot.Message, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range slices.Backward(r.last) {
		if covers(m.Topic) {
			return m, true
		}
	}
	return iot.Message{}, false
}

// Recent are the messages that were remembered, the latest first; with a
// filter, those it covers. They are samples: not every message is among them.
func (e *Engine) Recent(filter topic.Filter) []iot.Message {
	e.recent.mu.Lock()
	all := slices.Clone(e.recent.last)
	e.recent.mu.Unlock()
	slices.Reverse(all)
	if filter != "" {
		all = slices.DeleteFunc(all, func(m iot.Message) bool { return !topic.Match(filter, topic.Name(m.Topic)) })
	}
	return all
}
