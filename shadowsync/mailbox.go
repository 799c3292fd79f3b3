package shadowsync

import (
	"sync"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/topic"
)

// letter is something for the goroutine that owns the states: an event for one
// shadow, or for all when the key has no thing; or a message of upstream.
type letter struct {
	key   iot.ShadowKey
	event Event

	reserved topic.Reserved
	payload  []byte
	ack      func()
	// work is set on the answer of a worker.
	work bool
}

// mailbox takes letters from any goroutine in order. Messages of upstream are
// bounded, all else is by what is under way.
type mailbox struct {
	wake chan struct{}
	max  int

	mu       sync.Mutex
	letters  []letter
	messages int
	lost     bool // messages were dropped: compare everything
	hints    map[iot.ShadowKey]int64
}

func (m *mailbox) init(max int) {
	m.wake = make(chan struct{}, 1)
	m.max = max
	m.hints = make(map[iot.ShadowKey]int64)
}

func (m *mailbox) signal() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

func (m *mailbox) post(l letter) {
	m.mu.Lock()
	m.letters = append(m.letters, l)
	m.mu.Unlock()
	m.signal()
}

// deliver takes a message of upstream; false when there was no room.
func (m *mailbox) deliver(l letter) bool {
	m.mu.Lock()
	full := m.messages >= m.max
	if full {
		m.lost = true
	} else {
		m.letters = append(m.letters, l)
		m.messages++
	}
	m.mu.Unlock()
	m.signal()
	return !full
}

// hint keeps the newest version of each shadow: bounded by their number.
func (m *mailbox) hint(key iot.ShadowKey, version int64) {
	m.mu.Lock()
	m.hints[key] = version
	m.mu.Unlock()
	m.signal()
}

// fetch takes everything out.
func (m *mailbox) fetch() (letters []letter, hints map[iot.ShadowKey]int64, lost bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	letters, lost = m.letters, m.lost
	m.letters, m.messages, m.lost = nil, 0, false
	if len(m.hints) > 0 { // else it stays with those who write to it
		hints, m.hints = m.hints, make(map[iot.ShadowKey]int64)
	}
	return letters, hints, lost
}

// fill is how full the inbox is, from 0 to 1.
func (m *mailbox) fill() float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return float64(m.messages) / float64(m.max)
}
