package wire

import (
	"sync"
	"time"
)

const (
	quietFor  = 10 * time.Second // one log line per subject
	quietKeys = 1024             // subjects remembered
)

// Quiet lets one log line per key and 10 s through and counts the rest.
type Quiet struct {
	mu   sync.Mutex
	keys map[string]*Hush
}

// Hush is Quiet for one subject. The zero value lets the first line through; not
// for concurrent use.
type Hush struct {
	until  time.Time
	missed int
}

// Pass tells whether to log now, and how many lines were swallowed before.
func (h *Hush) Pass(now time.Time) (missed int, ok bool) {
	if now.Before(h.until) {
		h.missed++
		return 0, false
	}
	missed, h.missed, h.until = h.missed, 0, now.Add(quietFor)
	return missed, true
}

// Pass tells whether to log now, and how many lines were swallowed before.
func (q *Quiet) Pass(key string, now time.Time) (missed int, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	h := q.keys[key]
	if h == nil {
		if q.keys == nil || len(q.keys) >= quietKeys {
			q.keys = make(map[string]*Hush)
		}
		h = &Hush{}
		q.keys[key] = h
	}
	return h.Pass(now)
}
