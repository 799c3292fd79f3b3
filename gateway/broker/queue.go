package broker

import (
	"time"

	"github.com/tidehold/tidehold/gateway/broker/keep"
	"github.com/tidehold/tidehold/gateway/broker/retain"
	"github.com/tidehold/tidehold/gateway/iot"
)

// routed is a message on its way to subscribers, shared by all of them.
type routed struct {
	iot.Message
	at      time.Time // when it was routed
	expires time.Time // zero = never
	size    int       // what it counts for in queues

	// Only the goroutine that delivers the message uses these.
	stored *stored // nil while no session that is kept has it
	refs   []keep.Ref
	held   []*session // wait with it for the commit
}

func newRouted(m iot.Message, now time.Time) *routed {
	r := &routed{Message: m, at: now, size: len(m.Topic) + len(m.Payload) + retain.Overhead}
	if m.Properties != nil && m.Properties.MessageExpiry > 0 {
		r.expires = now.Add(time.Duration(m.Properties.MessageExpiry) * time.Second)
	}
	return r
}

func (r *routed) expired(now time.Time) bool { return !r.expires.IsZero() && !now.Before(r.expires) }

// left is the message expiry interval that remains at now, in seconds.
func (r *routed) left(now time.Time) uint32 {
	if r.expires.IsZero() {
		return 0
	}
	return uint32(max(1, (r.expires.Sub(now)+time.Second-1)/time.Second))
}

// outgoing is a routed message as one session gets it.
type outgoing struct {
	*routed
	qos    byte
	retain bool
	ids    []int   // subscription identifiers
	shared *group  // it came by this shared subscription
	n      uint64  // its place in the session's order
	kept   *stored // nil: it is in memory alone
	again  bool    // it may have been sent before a restart
}
