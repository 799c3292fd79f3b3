package broker

import (
	"github.com/tidehold/tidehold/gateway/broker/retain"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/topic"
)

// errRetainedFull is a retained message over the limits.
var errRetainedFull error = iot.Errorf(iot.Throttled, "the store of retained messages is full")

// checkRetained refuses, and counts, what is to be retained and has no room.
func (b *Broker) checkRetained(retain bool, name string, n int, owner iot.Principal) error {
	if !retain || !topic.MayRetain(name) || b.retained.Fits(name, n, owner) {
		return nil
	}
	b.count.Dropped.Inc("retained_limit")
	return errRetainedFull
}

func (r *routed) retained() *retain.Message {
	return &retain.Message{Message: r.Message, At: r.at, Expires: r.expires, Size: r.size}
}

// Retained gives the retained message of a topic.
func (b *Broker) Retained(name string) (iot.Message, bool) { return b.retained.Get(name) }

// RetainedAfter lists up to n retained messages whose topic comes after a
// name, by topic; n <= 0 lists all.
func (b *Broker) RetainedAfter(name string, n int) []iot.Message { return b.retained.After(name, n) }
