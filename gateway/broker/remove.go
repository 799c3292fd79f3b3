package broker

import (
	"github.com/tidehold/tidehold/gateway/broker/lifecycle"
	"github.com/tidehold/tidehold/gateway/broker/wire"
	"github.com/tidehold/tidehold/gateway/iot"
)

// Removal says what else goes with a connection that Remove ends.
type Removal struct {
	Session bool // the session and what waits in it
	Will    bool // the last will: it is not sent
}

// Remove ends the connection of a client on behalf of the API and waits until
// it is cleaned up after. False: nobody is connected under this id, and there
// was no session to remove.
func (b *Broker) Remove(id iot.ClientID, r Removal) bool {
	defer b.sessions.seats.Lock(id)()
	s := b.sessions.get(id)
	if s == nil {
		return false
	}
	connected := s.connection() != nil
	b.evict(s, ending{code: wire.CodeAdministrative, event: lifecycle.API, clean: r.Will})
	if !r.Session {
		return connected
	}
	if b.sessions.get(id) == s {
		b.wait(func(done func(error)) { b.over(s, done) })
	}
	return true
}

// CheckPublish reports why nobody outside may publish m, whose topic is of legal
// form: the limits, the reserved tree (shadow.md section 1), or no room to
// retain it, which is counted.
func (b *Broker) CheckPublish(m iot.Message) error {
	if _, refusal := b.judgeTopic(m.Topic); refusal != nil {
		return refusal
	}
	return b.checkRetained(m.Retain, m.Topic, len(m.Payload), m.Origin.Principal)
}
