// Package bucket bounds how often something may happen, by tokens: a bucket holds
// a burst of them and gets new ones at a rate (security.md T6, T10, 2.3).
//
// It is pure: the time is handed in, of one clock that does not go back; a time
// before the last one refills nothing. The owner locks it. Nothing blocks.
package bucket

import "time"

// Bucket holds tokens. The zero value is full.
type Bucket struct {
	spent float64
	last  time.Time
}

// Take takes one token of a bucket that gets rate tokens a second and holds burst
// of them; false, and nothing is taken, when there is none.
func (b *Bucket) Take(now time.Time, rate, burst float64) bool {
	b.refill(now, rate)
	if b.spent+1 > burst {
		return false
	}
	b.spent++
	return true
}

// Spend takes n tokens, also those that are not there yet, and tells how long it
// takes until they are: 0 or less when they were there. A rate of 0 is no limit.
func (b *Bucket) Spend(now time.Time, rate, burst, n float64) time.Duration {
	if rate == 0 {
		return 0
	}
	b.refill(now, rate)
	b.spent += n
	return time.Duration((b.spent - burst) / rate * float64(time.Second))
}

func (b *Bucket) refill(now time.Time, rate float64) {
	b.spent = max(0, b.spent-max(0, now.Sub(b.last).Seconds())*rate)
	b.last = now
}

// lookEvery is how often a Shelf without room is looked through for some.
const lookEvery = time.Second

// Shelf is a bucket for each key, all of one size. At Max keys those with a full
// bucket are forgotten, for they are as good as new; while there are none, a
// further key has no bucket and always gets its token: whoever fears many keys
// bounds all of them together by one more Bucket.
type Shelf[K comparable] struct {
	Rate, Burst float64
	Max         int

	seen   map[K]*Bucket
	looked time.Time // when there was last no room
}

// Take takes one token of key's bucket.
func (s *Shelf[K]) Take(key K, now time.Time) bool {
	b := s.find(key, now)
	return b == nil || b.Take(now, s.Rate, s.Burst)
}

// Len is the number of keys told apart now, at most Max.
func (s *Shelf[K]) Len() int { return len(s.seen) }

func (s *Shelf[K]) find(key K, now time.Time) *Bucket {
	if b := s.seen[key]; b != nil {
		return b
	}
	if s.seen == nil {
		s.seen = make(map[K]*Bucket)
	}
	if len(s.seen) >= s.Max && now.Sub(s.looked) >= lookEvery {
		s.looked = now
		s.forgetFull(now)
	}
	if len(s.seen) >= s.Max {
		return nil
	}
	b := &Bucket{}
	s.seen[key] = b
	return b
}

func (s *Shelf[K]) forgetFull(now time.Time) {
	for key, b := range s.seen {
		if b.refill(now, s.Rate); b.spent == 0 {
			delete(s.seen, key)
		}
	}
}
