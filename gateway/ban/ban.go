// Package ban shuts out who fails again and again (security.md T6): ten failures
// within a minute are a ban of a minute, each further ban is twice as long, up to
// an hour. Addresses are banned where connections are accepted, before they cost
// a handshake; certificates where they are identified, wherever they come from.
package ban

import "time"

// The figures of security.md T6.
const (
	FailuresMax = 10 // within Window: banned
	Window      = time.Minute
	Min         = time.Minute
	Max         = time.Hour
	// OffendersMax is how many keys a Book tells apart; when all of them are
	// banned, a further one is not remembered.
	OffendersMax = 4096
	// forgetEvery is how often a full Book is looked through for room.
	forgetEvery = time.Second
)

// Book remembers failures by key. The zero value is empty. Its owner locks it,
// and gives it times of one monotonic clock.
type Book[K comparable] struct {
	seen   map[K]*offender
	looked time.Time // when there was last no room
}

type offender struct {
	failures     int
	first, until time.Time // of the failures that are counted; of the ban
	ban          time.Duration
}

// Left is how long key is still banned; 0 is not.
func (b *Book[K]) Left(key K, now time.Time) time.Duration {
	if o := b.seen[key]; o != nil {
		return max(0, o.until.Sub(now))
	}
	return 0
}

// Failed counts a failure and reports whether it was the one that bans key.
func (b *Book[K]) Failed(key K, now time.Time) bool {
	o := b.offender(key, now)
	if o == nil {
		return false
	}
	if now.Sub(o.first) > Window {
		o.failures, o.first = 0, now
	}
	if o.failures++; o.failures < FailuresMax {
		return false
	}
	o.failures = 0
	o.ban = min(max(2*o.ban, Min), Max)
	o.until = now.Add(o.ban)
	return true
}

// offender finds a key, or remembers it while there is room.
func (b *Book[K]) offender(key K, now time.Time) *offender {
	if o := b.seen[key]; o != nil {
		return o
	}
	if b.seen == nil {
		b.seen = make(map[K]*offender)
	}
	if len(b.seen) >= OffendersMax && now.Sub(b.looked) >= forgetEvery {
		b.looked = now
		b.forget(now)
	}
	if len(b.seen) >= OffendersMax {
		return nil
	}
	o := &offender{first: now}
	b.seen[key] = o
	return o
}

// forget makes room: by who has behaved for longer than any ban, and if that is
// nobody, by everybody who is not banned now.
func (b *Book[K]) forget(now time.Time) {
	for key, o := range b.seen {
		if now.Sub(o.first) > Max && now.Sub(o.until) > Max {
			delete(b.seen, key)
		}
	}
	for key, o := range b.seen {
		if len(b.seen) < OffendersMax {
			return
		}
		if !now.Before(o.until) {
			delete(b.seen, key)
		}
	}
}
