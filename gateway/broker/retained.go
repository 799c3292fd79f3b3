package broker

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/topic"
)

// errRetainedFull is a retained message over the limits.
var errRetainedFull error = iot.Errorf(iot.Throttled, "the store of retained messages is full")

// retained keeps the last retained message of each topic. At its limits a new
// one is not kept; it is delivered all the same.
type retained struct {
	maxCount, maxOwned int
	maxBytes           int64
	dropped            func()

	// order makes storing and delivering one step: the last message every
	// subscriber sees is the one that is kept.
	order sync.Mutex

	mu       sync.Mutex
	messages map[string]*routed
	owned    map[iot.Principal]int
	bytes    int64
}

func newRetained(cfg Config) *retained {
	return &retained{
		maxCount: cfg.Limits.MaxRetained, maxBytes: cfg.Limits.MaxRetainedBytes, maxOwned: cfg.MaxRetainedPerPrincipal,
		messages: make(map[string]*routed), owned: make(map[iot.Principal]int),
	}
}

// keep stores r, or with an empty payload forgets what was stored, and
// delivers it.
func (t *retained) keep(r *routed, deliver func()) {
	t.order.Lock()
	defer t.order.Unlock()
	t.mu.Lock()
	switch {
	case len(r.Payload) == 0:
		t.forget(r.Topic)
	case t.room(r.Topic, len(r.Payload), r.Origin.Principal):
		t.forget(r.Topic)
		t.messages[r.Topic] = r
		t.owned[r.Origin.Principal]++
		t.bytes += int64(r.size)
	default:
		t.dropped()
	}
	t.mu.Unlock()
	deliver()
}

func (t *retained) forget(name string) {
	old := t.messages[name]
	if old == nil {
		return
	}
	delete(t.messages, name)
	t.bytes -= int64(old.size)
	if t.owned[old.Origin.Principal]--; t.owned[old.Origin.Principal] <= 0 {
		delete(t.owned, old.Origin.Principal)
	}
}

// fits reports whether a retained message of n bytes would be kept now.
func (t *retained) fits(name string, n int, owner iot.Principal) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n == 0 || t.room(name, n, owner) {
		return true
	}
	t.expire(time.Now())
	return t.room(name, n, owner)
}

func (t *retained) room(name string, n int, owner iot.Principal) bool {
	count, bytes, owned := len(t.messages)+1, t.bytes+int64(len(name)+n+messageOverhead), t.owned[owner]+1
	if old := t.messages[name]; old != nil {
		count, bytes = count-1, bytes-int64(old.size)
		if old.Origin.Principal == owner {
			owned--
		}
	}
	limited := owner.Kind == iot.CertificateKind || owner.Kind == iot.UserKind
	return (t.maxCount <= 0 || count <= t.maxCount) && (t.maxBytes <= 0 || bytes <= t.maxBytes) &&
		(!limited || owned <= t.maxOwned)
}

// expire forgets what is past its message expiry.
func (t *retained) expire(now time.Time) {
	for name, r := range t.messages {
		if r.expired(now) {
			t.forget(name)
		}
	}
}

// matching lists what f covers, by topic.
func (t *retained) matching(f topic.Filter, now time.Time) []*routed {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !strings.ContainsAny(string(f), "+#") {
		if r := t.messages[string(f)]; r != nil && !r.expired(now) {
			return []*routed{r}
		}
		return nil
	}
	var all []*routed
	for name, r := range t.messages {
		if topic.Match(f, topic.Name(name)) && !r.expired(now) {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b *routed) int { return strings.Compare(a.Topic, b.Topic) })
	return all
}

func (t *retained) size() (count int, bytes int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.messages), t.bytes
}

// Retained gives the retained message of a topic.
func (b *Broker) Retained(name string) (iot.Message, bool) {
	b.retained.mu.Lock()
	defer b.retained.mu.Unlock()
	r := b.retained.messages[name]
	if r == nil || r.expired(time.Now()) {
		return iot.Message{}, false
	}
	return r.Message, true
}

// RetainedAfter lists up to n retained messages whose topic comes after a
// name, by topic; n <= 0 lists all.
func (b *Broker) RetainedAfter(name string, n int) []iot.Message {
	now := time.Now()
	b.retained.mu.Lock()
	defer b.retained.mu.Unlock()
	var all []iot.Message
	for _, r := range b.retained.messages {
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
