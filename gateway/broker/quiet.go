package broker

import (
	"sync"
	"time"
)

const (
	quietFor  = 10 * time.Second // one log line per subject
	quietKeys = 1024             // subjects remembered
)

// quiet lets one log line per key and 10 s through and counts the rest.
type quiet struct {
	mu   sync.Mutex
	keys map[string]*hush
}

type hush struct {
	until  time.Time
	missed int
}

// pass tells whether to log now, and how many lines were swallowed before.
func (q *quiet) pass(key string, now time.Time) (missed int, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	h := q.keys[key]
	if h != nil && now.Before(h.until) {
		h.missed++
		return 0, false
	}
	if h == nil {
		if q.keys == nil || len(q.keys) >= quietKeys {
			q.keys = make(map[string]*hush)
		}
		h = &hush{}
		q.keys[key] = h
	}
	missed, h.missed, h.until = h.missed, 0, now.Add(quietFor)
	return missed, true
}

// denied counts a refusal of the Authorizer, which has logged it and knows the
// policy behind it.
func (b *Broker) denied(action string) { b.count.denied.Inc(action) }

// refused counts a refusal by a rule of the broker and logs it, rate limited
// (security.md 1.6).
func (b *Broker) refused(action string, c *client, resource string, err error) {
	b.count.denied.Inc(action)
	missed, ok := b.denials.pass(string(c.public.ID)+"\x00"+action+"\x00"+resource, time.Now())
	if ok {
		b.log.Warn("authz.denied", "client", c.public.ID, "principal", c.public.Principal.ID,
			"action", action, "topic", resource, "err", err, "missed", missed)
	}
}
