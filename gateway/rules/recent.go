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
	sampleEvery    = 50 * time.Millisecond
)

// recent remembers real messages, for trials of statements.
type recent struct {
	next atomic.Int64 // by the steady clock, when the next sample is due

	mu   sync.Mutex
	last []iot.Message
	at   int
}

// sample remembers a message that no rule wants, now and then.
func (r *recent) sample(m *iot.Message, up time.Duration) {
	due := r.next.Load()
	if int64(up) < due || !r.next.CompareAndSwap(due, int64(up+sampleEvery)) {
		return
	}
	r.keep(m)
}

func (r *recent) keep(m *iot.Message) {
	if len(m.Payload) > recentBytesMax {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.last) < recentMax {
		r.last = append(r.last, *m)
		return
	}
	r.last[r.at] = *m
	r.at = (r.at + 1) % recentMax
}

// find gives the latest message that a filter covers.
func (r *recent) find(covers func(name string) bool) (iot.Message, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.last {
		m := r.last[(r.at+len(r.last)-1-i)%len(r.last)]
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
	defer e.recent.mu.Unlock()
	all := slices.Concat(e.recent.last[e.recent.at:], e.recent.last[:e.recent.at])
	slices.Reverse(all)
	if filter != "" {
		all = slices.DeleteFunc(all, func(m iot.Message) bool { return !topic.Match(filter, topic.Name(m.Topic)) })
	}
	return all
}
