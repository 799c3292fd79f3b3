package broker

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/tidehold/tidehold/gateway/broker/brake"
	"github.com/tidehold/tidehold/gateway/broker/inbound"
	"github.com/tidehold/tidehold/gateway/broker/lifecycle"
	"github.com/tidehold/tidehold/gateway/broker/outbound"
	"github.com/tidehold/tidehold/gateway/broker/wire"
	"github.com/tidehold/tidehold/gateway/iot"
)

// ackPatience is how long a connected session may leave everything
// unacknowledged while more waits for it.
const ackPatience = 30 * time.Second

// session is what outlives a connection: subscriptions, the queue of QoS 1 and
// 2 messages, what was sent and not acknowledged, and the QoS 2 messages the
// client has not released. It belongs to a client id and a principal.
type session struct {
	b       *Broker
	id      iot.ClientID
	owner   iot.Principal
	inbound *inbound.Exchanges
	client  atomic.Pointer[client] // nil while away; written under mu

	mu      sync.Mutex
	latest  *client // the last connection, also after it ended
	subs    map[string]subscription
	many    atomic.Bool // more than one subscription: matches must be merged
	waiting outbound.Queue[outgoing]
	flight  outbound.Window[outgoing]
	holds   int // bytes of both, in the budget
	brake   brake.Brake
	slow    wire.Hush // of the log, about QoS 0 that was dropped
	next    uint64    // place of the next message in the session's order
	window  int
	heard   time.Time // last acknowledgement, or the first of flight
	tried   bool      // something was acknowledged on this connection
	expiry  time.Duration
	expires time.Time // while away
	will    *lastWill // waits for its delay
	ended   bool
	number  int64 // under which it is kept; 0 = it is not
}

type subscription struct {
	filter wire.Filter
	entry  *entry
}

// flight is a message sent and not acknowledged.
type flight = outbound.Sent[outgoing]

func newSession(b *Broker, id iot.ClientID, owner iot.Principal) *session {
	return &session{b: b, id: id, owner: owner, inbound: &inbound.Exchanges{}, subs: make(map[string]subscription)}
}

func (s *session) connection() *client { return s.client.Load() }

// deliver gives r to the session: QoS 0 to the connection or nobody, QoS 1 and
// 2 through the queue. False: the session is over.
func (s *session) deliver(r *routed, opt options, ids []int) bool {
	if opt.noLocal && r.Origin.ClientID == s.id {
		return true
	}
	o := outgoing{routed: r, qos: min(r.QoS, opt.qos), retain: opt.asPublished && r.Retain, ids: ids, shared: opt.shared}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	s.put(o)
	return true
}

// put is deliver with the lock held.
func (s *session) put(o outgoing) {
	c := s.connection()
	if o.qos == 0 {
		if c != nil {
			s.sendAtOnce(c, o)
		}
		return
	}
	if !s.admit(o, c) {
		return
	}
	s.place(&o)
	s.waiting.Push(o, o.size)
	s.b.count.Queued.Add(1)
	if c != nil {
		s.pump(c, o.at)
	}
}

func (s *session) sendAtOnce(c *client, o outgoing) {
	if !s.b.auth.Receive(&c.public, o.Topic) {
		s.b.count.Denied.Inc("receive")
		return
	}
	if c.send(&o, 0, false, wire.May, o.at) == noRoom {
		s.b.count.Slow.Inc()
		if missed, ok := s.slow.Pass(o.at); ok {
			s.b.log.Warn("client reads too slowly, QoS 0 messages for it are dropped", "client", s.id, "missed", missed)
		}
	}
}

// admit makes room for o or drops it, by the policy of the queue: one that is
// away is bounded by mqtt.queue, and each by what it leaves for the others.
func (s *session) admit(o outgoing, c *client) bool {
	q := &s.b.cfg.Queue
	if c != nil {
		s.hurry(c, o.at)
	} else {
		for s.waiting.Len() > 0 && s.full(q, o.size) {
			if !q.DropOldest && !s.stale(o.at) {
				return s.drop("queue_full")
			}
			s.discard("queue_full")
		}
	}
	if !s.b.budget.Take(s.holds, o.size) {
		s.b.count.Full.Inc()
		return false
	}
	s.holds += o.size
	if c != nil && s.b.budget.Scarce(s.holds) {
		s.slowDown(o)
	}
	return true
}

// slowDown holds the publisher of o back until the session has room (package
// brake). One that is held back for itself would never be: it could not
// acknowledge what makes the room. No more could two that wait for each other.
func (s *session) slowDown(o outgoing) {
	hold := s.brake.Press(s.heard, o.at, s.tried)
	if hold == nil {
		return
	}
	p := s.b.sessions.connected(o.Origin.ClientID)
	if p != nil && p.session != s && !p.session.brake.Pulled() {
		p.hold.Store(hold)
	}
}

func (s *session) full(q *Queue, size int) bool {
	return q.MaxMessages > 0 && s.waiting.Len() >= q.MaxMessages || q.MaxBytes > 0 && s.waiting.Bytes()+size > q.MaxBytes
}

// stale reports whether the head of the queue is too old to be worth its place.
func (s *session) stale(now time.Time) bool {
	o := s.waiting.First()
	age := s.b.cfg.Queue.MaxAge
	return o.expired(now) || age > 0 && now.Sub(o.at) > age
}

func (s *session) drop(reason string) bool {
	s.b.count.Dropped.Inc(reason)
	return false
}

func (s *session) discard(reason string) {
	s.b.count.Dropped.Inc(reason)
	s.discardQuietly()
}

func (s *session) give(n int) {
	s.holds -= n
	s.b.budget.Give(n)
	if s.brake.Engaged() && s.b.budget.Ample(s.holds) {
		s.brake.Release()
	}
}

func (s *session) discardQuietly() {
	o := s.waiting.Pop(s.waiting.First().size)
	s.give(o.size)
	s.b.count.Queued.Add(-1)
	s.let(o)
}

// hurry disconnects a client that acknowledges nothing while messages wait.
func (s *session) hurry(c *client, now time.Time) {
	if s.waiting.Len() > 0 && s.flight.Len() > 0 && now.Sub(s.heard) > ackPatience {
		c.stop(ending{code: wire.CodeQuota, event: lifecycle.Server, text: "acknowledges nothing while messages wait"})
	}
}

// pump sends what was in flight before this connection, then the queue, in
// order, as far as the client's window and the write buffer allow.
func (s *session) pump(c *client, now time.Time) {
	for f := s.flight.Unsent(); f != nil; f = s.flight.Unsent() {
		if s.flight.Fresh() >= s.window || !s.resend(c, f, now) {
			return
		}
	}
	for s.flight.Len() < s.window && s.waiting.Len() > 0 {
		if s.stale(now) {
			s.discard("expired")
			continue
		}
		if ready, lost := s.waiting.First().ready(); lost {
			s.discard("not_stored")
			continue
		} else if !ready {
			return
		}
		if !s.sendNext(c, now) {
			return
		}
	}
}

// resend sends the first of flight that this connection has not seen; false
// when the buffer is full.
func (s *session) resend(c *client, f *flight, now time.Time) bool {
	if f.Received {
		if f.Released {
			c.sendAck(packets.Pubrel, f.ID(), wire.CodeSuccess)
		}
		s.flight.MarkSent()
		return true
	}
	if !s.b.auth.Receive(&c.public, f.Item.Topic) {
		s.b.count.Denied.Inc("receive")
		s.land(f)
		return true
	}
	switch c.send(&f.Item, f.ID(), true, wire.Later, now) {
	case noRoom:
		return false
	case tooLarge:
		s.land(f)
	default:
		s.flight.MarkSent()
	}
	return true
}

// sendNext sends the head of the queue; false when it has to wait.
func (s *session) sendNext(c *client, now time.Time) bool {
	o := s.waiting.First()
	if !s.b.auth.Receive(&c.public, o.Topic) {
		s.b.count.Denied.Inc("receive")
		s.discard("not_authorized")
		return true
	}
	if !s.flight.Free(o.n) {
		return false // ids have come round to one that is still out
	}
	switch c.send(o, outbound.PacketID(o.n), o.again, wire.Later, now) {
	case noRoom:
		return false
	case tooLarge:
		s.discard("too_large")
		return true
	}
	if s.flight.Len() == 0 {
		s.heard = now
	}
	sent := s.waiting.Pop(o.size)
	s.flight.Add(sent.n, sent, true)
	s.b.count.Queued.Add(-1)
	s.b.count.Inflight.Add(1)
	return true
}

// land takes f out: it is done.
func (s *session) land(f *flight) {
	o := s.flight.Land(f)
	s.give(o.size)
	s.b.count.Inflight.Add(-1)
	s.let(o)
}

// step runs f for the flight of id on behalf of c's client, then sends more.
func (s *session) step(c *client, id uint16, f func(*flight)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.connection() != c {
		return // of a connection that was taken over
	}
	s.heard = time.Now()
	s.tried = true
	f(s.flight.Find(id))
	s.pump(c, s.heard)
}

// acknowledged acts on PUBACK.
func (s *session) acknowledged(c *client, id uint16) {
	s.step(c, id, func(f *flight) {
		if f != nil && f.Item.qos == 1 {
			s.land(f)
		}
	})
}

// received acts on PUBREC: PUBREL in any case, as an id we do not know may be
// one that we forgot (MQTT 5, 3.6.2.1).
func (s *session) received(c *client, id uint16, code byte) {
	s.step(c, id, func(f *flight) {
		switch {
		case f == nil || f.Item.qos != 2:
			c.sendAck(packets.Pubrel, id, wire.CodeIDNotFound)
		case code >= wire.CodeUnspecified:
			s.land(f)
		case f.Item.kept == nil || f.Released:
			f.Received, f.Released = true, true
			c.sendAck(packets.Pubrel, id, wire.CodeSuccess)
		case !f.Received:
			f.Received = true
			s.keepReceived(f.N)
		}
	})
}

// completed acts on PUBCOMP.
func (s *session) completed(c *client, id uint16) {
	s.step(c, id, func(f *flight) {
		if f != nil && f.Received {
			s.land(f)
		}
	})
}

// resume goes on sending when the write buffer of c has room again.
func (s *session) resume(c *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.connection() == c {
		s.pump(c, time.Now())
	}
}

func (s *session) setExpiry(c *client, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.connection() == c {
		s.expiry = d
	}
}

// adopt makes c the connection of the session: CONNACK first, then what waits.
// False: the session has ended meanwhile.
func (s *session) adopt(c *client, connack []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	c.session = s
	s.latest, s.will, s.expires = c, nil, time.Time{}
	s.flight.Restart()
	s.window, s.expiry = c.window, c.public.SessionExpiry
	s.heard, s.tried = time.Now(), false
	c.conn.Send(connack, wire.Must)
	s.client.Store(c)
	s.settleNumber()
	s.pump(c, s.heard)
	return true
}

// release ends the time of c in the session. It tells the will that is due
// now, if any, and whether the session is over too.
func (s *session) release(c *client, will *lastWill, now time.Time) (due *lastWill, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.connection() != c {
		return will, false
	}
	s.client.Store(nil)
	s.brake.Release()
	s.flight.Restart()
	if s.expiry <= 0 {
		s.ended = true
		return will, true
	}
	defer s.save(ignore)
	s.expires = now.Add(s.expiry)
	if will != nil && will.delay > 0 {
		will.at = now.Add(min(will.delay, s.expiry))
		s.will = will
		return nil, false
	}
	return will, false
}

// forget lets go of a connection that has been cleaned up after.
func (s *session) forget(c *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.latest == c {
		s.latest = nil
	}
}

// clear empties a session that is over and gives the will that waited. done is
// called when nothing of it is left on disk.
func (s *session) clear(done func(error)) *lastWill {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.unkeep(done)
	for s.waiting.Len() > 0 {
		s.discardQuietly()
	}
	for f := s.flight.First(); f != nil; f = s.flight.First() {
		s.land(f)
	}
	will := s.will
	s.will = nil
	return will
}
