package broker

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/tidehold/tidehold/gateway/broker/inbound"
	"github.com/tidehold/tidehold/gateway/broker/lifecycle"
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
	waiting queue
	flight  []flight // in the order sent
	fresh   int      // flight[:fresh] was sent on this connection
	next    uint64   // place of the next message in the session's order
	window  int
	heard   time.Time // last acknowledgement, or the first of flight
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
type flight struct {
	outgoing
	id       uint16
	received bool // QoS 2: PUBREC came
	released bool // PUBREL may go out
}

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
	o := outgoing{routed: r, qos: min(r.QoS, opt.qos), retain: opt.asPublished && r.Retain, ids: ids}
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
	s.waiting.push(o)
	s.b.count.queued.Add(1)
	if c != nil {
		s.pump(c, o.at)
	}
}

func (s *session) sendAtOnce(c *client, o outgoing) {
	if !s.b.auth.Receive(&c.public, o.Topic) {
		s.b.count.denied.Inc("receive")
		return
	}
	if c.send(o, 0, false, wire.May, o.at) == noRoom {
		s.b.count.dropped.Inc("slow_client")
		if missed, ok := s.b.denials.Pass("slow\x00"+string(s.id), o.at); ok {
			s.b.log.Warn("client reads too slowly, QoS 0 messages for it are dropped", "client", s.id, "missed", missed)
		}
	}
}

// admit makes room for o or drops it, by the policy of the queue. A session
// that is connected may hold up to half of the buffers, one that is away what
// mqtt.queue says.
func (s *session) admit(o outgoing, c *client) bool {
	q := &s.b.cfg.Queue
	if c != nil {
		s.hurry(c, o.at)
		if int64(s.waiting.bytes+o.size) > s.b.cfg.BufferedBytes/2 {
			return s.drop("queue_full")
		}
	} else {
		for s.waiting.len() > 0 && s.full(q, o.size) {
			if !q.DropOldest && !s.stale(o.at) {
				return s.drop("queue_full")
			}
			s.discard("queue_full")
		}
	}
	if !s.b.budget.Take(o.size) {
		return s.drop("buffers_full")
	}
	return true
}

func (s *session) full(q *Queue, size int) bool {
	return q.MaxMessages > 0 && s.waiting.len() >= q.MaxMessages || q.MaxBytes > 0 && s.waiting.bytes+size > q.MaxBytes
}

// stale reports whether the head of the queue is too old to be worth its place.
func (s *session) stale(now time.Time) bool {
	o := s.waiting.first()
	age := s.b.cfg.Queue.MaxAge
	return o.expired(now) || age > 0 && now.Sub(o.at) > age
}

func (s *session) drop(reason string) bool {
	s.b.count.dropped.Inc(reason)
	return false
}

func (s *session) discard(reason string) {
	o := s.waiting.pop()
	s.b.budget.Give(o.size)
	s.b.count.queued.Add(-1)
	s.b.count.dropped.Inc(reason)
	s.let(o)
}

// hurry disconnects a client that acknowledges nothing while messages wait.
func (s *session) hurry(c *client, now time.Time) {
	if s.waiting.len() > 0 && len(s.flight) > 0 && now.Sub(s.heard) > ackPatience {
		c.stop(ending{code: wire.CodeQuota, event: lifecycle.Server, text: "acknowledges nothing while messages wait"})
	}
}

// pump sends what was in flight before this connection, then the queue, in
// order, as far as the client's window and the write buffer allow.
func (s *session) pump(c *client, now time.Time) {
	for s.fresh < len(s.flight) && s.fresh < s.window {
		if !s.resend(c, now) {
			return
		}
	}
	for s.fresh == len(s.flight) && len(s.flight) < s.window && s.waiting.len() > 0 {
		if s.stale(now) {
			s.discard("expired")
			continue
		}
		if ready, lost := s.waiting.first().ready(); lost {
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

// resend sends flight[fresh] again; false when the buffer is full.
func (s *session) resend(c *client, now time.Time) bool {
	f := &s.flight[s.fresh]
	if f.received {
		if f.released {
			c.sendAck(packets.Pubrel, f.id, wire.CodeSuccess)
		}
		s.fresh++
		return true
	}
	if !s.b.auth.Receive(&c.public, f.Topic) {
		s.b.count.denied.Inc("receive")
		s.land(s.fresh)
		return true
	}
	switch c.send(f.outgoing, f.id, true, wire.Later, now) {
	case noRoom:
		return false
	case tooLarge:
		s.land(s.fresh)
	default:
		s.fresh++
	}
	return true
}

// sendNext sends the head of the queue; false when it has to wait.
func (s *session) sendNext(c *client, now time.Time) bool {
	o := s.waiting.first()
	if !s.b.auth.Receive(&c.public, o.Topic) {
		s.b.count.denied.Inc("receive")
		s.discard("not_authorized")
		return true
	}
	id := packetID(o.n)
	if len(s.flight) > 0 && int64(o.n-s.flight[0].n) > math.MaxInt16 && s.find(id) >= 0 {
		return false // ids have come round to one that is still out
	}
	switch c.send(*o, id, o.again, wire.Later, now) {
	case noRoom:
		return false
	case tooLarge:
		s.discard("too_large")
		return true
	}
	if len(s.flight) == 0 {
		s.heard = now
	}
	s.flight = append(s.flight, flight{outgoing: s.waiting.pop(), id: id})
	s.fresh++
	s.b.count.queued.Add(-1)
	s.b.count.inflight.Add(1)
	return true
}

// packetID follows from a message's place, so that a message has the same one
// after a restart and a client knows a QoS 2 message again.
func packetID(n uint64) uint16 { return uint16(n%math.MaxUint16) + 1 }

// land takes flight[i] out: it is done.
func (s *session) land(i int) {
	o := s.flight[i].outgoing
	defer s.let(o)
	s.b.budget.Give(o.size)
	s.b.count.inflight.Add(-1)
	if i < s.fresh {
		s.fresh--
	}
	copy(s.flight[i:], s.flight[i+1:])
	s.flight[len(s.flight)-1] = flight{}
	s.flight = s.flight[:len(s.flight)-1]
}

func (s *session) find(id uint16) int {
	for i := range s.flight {
		if s.flight[i].id == id {
			return i
		}
	}
	return -1
}

// step runs f for the flight of id on behalf of c's client, then sends more.
func (s *session) step(c *client, id uint16, f func(i int)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.connection() != c {
		return // of a connection that was taken over
	}
	s.heard = time.Now()
	f(s.find(id))
	s.pump(c, s.heard)
}

// acknowledged acts on PUBACK.
func (s *session) acknowledged(c *client, id uint16) {
	s.step(c, id, func(i int) {
		if i >= 0 && s.flight[i].qos == 1 {
			s.land(i)
		}
	})
}

// received acts on PUBREC: PUBREL in any case, as an id we do not know may be
// one that we forgot (MQTT 5, 3.6.2.1).
func (s *session) received(c *client, id uint16, code byte) {
	s.step(c, id, func(i int) {
		switch {
		case i < 0 || s.flight[i].qos != 2:
			c.sendAck(packets.Pubrel, id, wire.CodeIDNotFound)
		case code >= wire.CodeUnspecified:
			s.land(i)
		case s.flight[i].kept == nil || s.flight[i].released:
			s.flight[i].received, s.flight[i].released = true, true
			c.sendAck(packets.Pubrel, id, wire.CodeSuccess)
		case !s.flight[i].received:
			s.flight[i].received = true
			s.keepReceived(s.flight[i].n)
		}
	})
}

// completed acts on PUBCOMP.
func (s *session) completed(c *client, id uint16) {
	s.step(c, id, func(i int) {
		if i >= 0 && s.flight[i].received {
			s.land(i)
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
	s.window, s.fresh, s.expiry = c.window, 0, c.public.SessionExpiry
	s.heard = time.Now()
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
	s.fresh = 0
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
	for s.waiting.len() > 0 {
		o := s.waiting.pop()
		s.b.budget.Give(o.size)
		s.b.count.queued.Add(-1)
		s.let(o)
	}
	for len(s.flight) > 0 {
		s.land(len(s.flight) - 1)
	}
	for _, sub := range s.subs {
		s.b.index.remove(sub.filter, sub.entry)
	}
	clear(s.subs)
	will := s.will
	s.will = nil
	return will
}
