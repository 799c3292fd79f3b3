// Package recent remembers real messages for trials of statements: of each
// topic the latest, of the topics those heard last (Max of them).
//
// Any goroutine may call anything; nothing blocks. Of a busy house not every
// message is remembered, so that a publisher hardly pays for it.
package recent

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/topic"
)

// Limits of what is remembered.
const (
	Max      = 64       // messages
	BytesMax = 16 << 10 // of a payload; longer ones are not remembered

	// One message in sampleEvery is remembered in the long run, sampleBurst at
	// once.
	sampleEvery = 5 * time.Millisecond
	sampleBurst = 64
)

// Messages are those remembered. The zero value is ready.
type Messages struct {
	next atomic.Int64 // by the steady clock: when the samples taken so far were due

	mu   sync.Mutex
	last []iot.Message // the latest last
}

// Sample remembers a message, now and then; up is the steady clock.
func (r *Messages) Sample(m *iot.Message, up time.Duration) {
	due := r.next.Load()
	if due > int64(up+sampleBurst*sampleEvery) || len(m.Payload) > BytesMax || !r.next.CompareAndSwap(due, max(due, int64(up))+int64(sampleEvery)) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.last, func(other iot.Message) bool { return other.Topic == m.Topic })
	switch {
	case i >= 0:
		r.last = slices.Delete(r.last, i, i+1)
	case len(r.last) >= Max:
		r.last = slices.Delete(r.last, 0, 1)
	}
	r.last = append(r.last, *m)
}

// Find gives the latest message whose topic covers accepts.
func (r *Messages) Find(covers func(name string) bool) (iot.Message, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range slices.Backward(r.last) {
		if covers(m.Topic) {
			return m, true
		}
	}
	return iot.Message{}, false
}

// All are the messages that filter covers, the latest first; an empty filter
// covers all.
func (r *Messages) All(filter topic.Filter) []iot.Message {
	r.mu.Lock()
	all := slices.Clone(r.last)
	r.mu.Unlock()
	slices.Reverse(all)
	if filter != "" {
		all = slices.DeleteFunc(all, func(m iot.Message) bool { return !topic.Match(filter, topic.Name(m.Topic)) })
	}
	return all
}
