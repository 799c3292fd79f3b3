// Package retain holds the retained messages of the broker in memory.
//
// Order: storing a message and delivering it are one step, so the last one that
// every subscriber sees is the one that is kept. Limits: those of New. Nothing
// blocks but the order.
package retain

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/topic"
)

// Overhead is what a message costs beside topic and payload.
const Overhead = 200

// Limits of a Store; 0 = none.
type Limits struct {
	Messages, PerPrincipal int
	Bytes                  int64
}

// Message is a retained message. What is shared of it nobody changes.
type Message struct {
	iot.Message
	At, Expires time.Time // Expires: zero = never
	Size        int       // what it counts for
}

func (m *Message) expired(now time.Time) bool { return !m.Expires.IsZero() && !now.Before(m.Expires) }

// Store keeps the last retained message of each topic. At its limits a new
// one is not kept; it is delivered all the same.
type Store struct {
	limits Limits
	// Dropped is called for each message over the limits, Expired for the topic
	// of each that is past its message expiry, under a lock.
	Dropped func()
	Expired func(name string)

	// order makes storing and delivering one step: the last message every
	// subscriber sees is the one that is kept.
	order sync.Mutex

	mu       sync.Mutex
	messages map[string]*Message
	owned    map[iot.Principal]int
	bytes    int64
}

// New makes an empty store.
func New(limits Limits) *Store {
	return &Store{limits: limits, Dropped: func() {}, Expired: func(string) {},
		messages: make(map[string]*Message), owned: make(map[iot.Principal]int)}
}

// Keep stores r, or with an empty payload forgets what was stored, and
// delivers it. deliver is told whether that changed what is to be on disk.
func (t *Store) Keep(r *Message, deliver func(changed bool)) {
	t.order.Lock()
	defer t.order.Unlock()
	deliver(t.Put(r))
}

// Put is Keep without delivering.
func (t *Store) Put(r *Message) (changed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.messages[r.Topic]
	switch {
	case len(r.Payload) == 0:
		t.forget(r.Topic)
		return old != nil
	case t.room(r.Topic, len(r.Payload), r.Origin.Principal):
		t.forget(r.Topic)
		t.messages[r.Topic] = r
		t.owned[r.Origin.Principal]++
		t.bytes += int64(r.Size)
		return true
	}
	t.Dropped()
	return false
}

func (t *Store) forget(name string) {
	old := t.messages[name]
	if old == nil {
		return
	}
	delete(t.messages, name)
	t.bytes -= int64(old.Size)
	if t.owned[old.Origin.Principal]--; t.owned[old.Origin.Principal] <= 0 {
		delete(t.owned, old.Origin.Principal)
	}
}

// Fits reports whether a retained message of n bytes would be kept now.
func (t *Store) Fits(name string, n int, owner iot.Principal) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n == 0 || t.room(name, n, owner) {
		return true
	}
	t.expire(time.Now())
	return t.room(name, n, owner)
}

func (t *Store) room(name string, n int, owner iot.Principal) bool {
	count, bytes, owned := len(t.messages)+1, t.bytes+int64(len(name)+n+Overhead), t.owned[owner]+1
	if old := t.messages[name]; old != nil {
		count, bytes = count-1, bytes-int64(old.Size)
		if old.Origin.Principal == owner {
			owned--
		}
	}
	limited := owner.Kind == iot.CertificateKind || owner.Kind == iot.UserKind
	return (t.limits.Messages <= 0 || count <= t.limits.Messages) && (t.limits.Bytes <= 0 || bytes <= t.limits.Bytes) &&
		(!limited || owned <= t.limits.PerPrincipal)
}

// Expire forgets what is past its message expiry.
func (t *Store) Expire(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(now)
}

func (t *Store) expire(now time.Time) {
	for name, r := range t.messages {
		if r.expired(now) {
			t.forget(name)
			t.Expired(name)
		}
	}
}

// Matching lists what f covers, by topic.
func (t *Store) Matching(f topic.Filter, now time.Time) []*Message {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !strings.ContainsAny(string(f), "+#") {
		if r := t.messages[string(f)]; r != nil && !r.expired(now) {
			return []*Message{r}
		}
		return nil
	}
	var all []*Message
	for name, r := range t.messages {
		if topic.Match(f, topic.Name(name)) && !r.expired(now) {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b *Message) int { return strings.Compare(a.Topic, b.Topic) })
	return all
}

// Size is what is kept.
func (t *Store) Size() (count int, bytes int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.messages), t.bytes
}

// Get gives the retained message of a topic.
func (t *Store) Get(name string) (iot.Message, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.messages[name]
	if r == nil || r.expired(time.Now()) {
		return iot.Message{}, false
	}
	return r.Message, true
}

// After lists up to n retained messages whose topic comes after a
// name, by topic; n <= 0 lists all.
func (t *Store) After(name string, n int) []iot.Message {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []iot.Message
	for _, r := range t.messages {
		if r.Topic > name && !r.expired(now) {
			all = append(all, r.Message)
		}
	}
	slices.SortFunc(all, func(a, b iot.Message) int { return strings.Compare(a.Topic, b.Topic) })
	if n > 0 && len(all) > n {
		all = all[:n]
	}
	return all
}
