package broker

import (
	"github.com/tidehold/tidehold/gateway/broker/lifecycle"
	"github.com/tidehold/tidehold/gateway/broker/wire"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/topic"
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

// CheckTopic reports why nobody outside may publish to a topic of legal form:
// the limits, or the reserved tree (shadow.md section 1).
func (b *Broker) CheckTopic(name topic.Name) error {
	if _, refusal := b.judgeTopic(string(name)); refusal != nil {
		return refusal
	}
	return nil
}
