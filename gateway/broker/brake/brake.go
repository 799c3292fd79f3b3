// Package brake is how a subscriber that is nearly full holds its publishers
// back, so that nothing is dropped while both sides do their best.
//
// Policy: a publisher waits for a subscriber that takes messages, and only as
// long as that makes room. One that has acknowledged nothing for Stalled, or makes
// no room within Patience, or Trial before its first acknowledgement, holds nobody
// back until it has drained: what finds it full is dropped then, and counted. So a subscriber
// slows a publisher down to the rate of a usual device, and one that is stuck or
// hostile costs it a moment, once.
//
// It is pure: a Brake belongs to whoever locks its session, except Pulled; what
// it gives may be waited for from anywhere.
package brake

import (
	"sync/atomic"
	"time"
)

const (
	// Stalled is the silence after which nobody waits for a subscriber: many
	// times what a busy machine lets a process wait for its turn.
	Stalled = time.Second / 2
	// Patience bounds one wait for room.
	Patience = time.Second / 2
	// Trial is that of a subscriber that has not acknowledged anything yet: it
	// may be one that never will.
	Trial = 20 * time.Millisecond
)

// Hold is one wait for room, shared by all who wait for it.
type Hold struct {
	room  chan struct{}
	until time.Time
}

// Room is closed when there is room again, or nobody to wait for any more.
func (h *Hold) Room() <-chan struct{} { return h.room }

// Left is how long the wait may still last at now.
func (h *Hold) Left(now time.Time) time.Duration { return h.until.Sub(now) }

// Brake is the one of a subscriber. The zero value holds nobody back.
type Brake struct {
	hold   *Hold // nil: nobody waits
	weak   bool  // made no room in time
	pulled atomic.Bool
}

// Pulled reports whether somebody is held back.
func (b *Brake) Pulled() bool { return b.pulled.Load() }

// Engaged reports whether Release would change anything.
func (b *Brake) Engaged() bool { return b.weak || b.hold != nil }

// Press is for one more message to a subscriber that has little room left and was
// heard last at heard; tried: it has acknowledged something. Its publisher
// should wait for what Press gives, if anything.
func (b *Brake) Press(heard, now time.Time, tried bool) *Hold {
	switch {
	case b.weak || now.Sub(heard) > Stalled:
		b.let()
		return nil
	case b.hold == nil:
		patience := Trial
		if tried {
			patience = Patience
		}
		b.hold = &Hold{room: make(chan struct{}), until: now.Add(patience)}
		b.pulled.Store(true)
	case b.hold.Left(now) <= 0:
		b.weak = true
		b.let()
	}
	return b.hold
}

// Release lets everybody go on: there is room, or the subscriber has gone.
func (b *Brake) Release() {
	b.weak = false
	b.let()
}

func (b *Brake) let() {
	if b.hold == nil {
		return
	}
	close(b.hold.room)
	b.hold = nil
	b.pulled.Store(false)
}
