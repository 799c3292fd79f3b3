package broker

import (
	"slices"
	"time"

	"github.com/tidehold/tidehold/gateway/broker/wire"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/topic"
)

// Route is Deliver for whom nobody waits.
func (b *Broker) Route(m iot.Message) { b.Deliver(m, ignore) }

// Deliver gives m to the local subscribers and, when it is retained, keeps it.
// RETAIN on a reserved topic is not kept. It does not wait for any subscriber,
// nor for the disk: done is called at once when nobody durable
// wants m, otherwise from another goroutine after the commit for all
// persistent sessions that want it and for the retained message, or with the
// reason why there was none; it must not block. Calls of one goroutine are
// delivered in their order.
func (b *Broker) Deliver(m iot.Message, done func(error)) {
	r := newRouted(m, time.Now())
	if m.Retain && topic.MayRetain(m.Topic) {
		b.retained.Keep(r.retained(), func(changed bool) {
			b.deliver(r)
			b.secure(r, changed, done)
		})
		return
	}
	b.deliver(r)
	b.secure(r, false, done)
}

// DeliverTo gives m to whoever asked, if its subscriptions cover the topic, and
// to nobody else: answers with private keys. It is lost when another connection,
// or nobody, has the client id by now.
func (b *Broker) DeliverTo(asker iot.Origin, m iot.Message) {
	c := b.sessions.connected(asker.ClientID)
	if c == nil || c.public.Principal != asker.Principal {
		return
	}
	r := newRouted(m, time.Now())
	own := slices.DeleteFunc(b.index.match(r.Topic, nil), func(e *entry) bool { return e.session != c.session })
	if len(own) > 0 {
		opt, ids := merge(own, c.session, r)
		c.session.deliver(r, opt, ids)
	}
}

// mergeByMap is how many matches make a map cheaper than looking for twins.
const mergeByMap = 32

func (b *Broker) deliver(r *routed) {
	var space [16]*entry
	matches := b.index.match(r.Topic, space[:0])
	var twins map[*session]bool
	if len(matches) > mergeByMap {
		twins = make(map[*session]bool)
	}
	for i, e := range matches {
		switch {
		case e == nil: // merged into an earlier one
		case e.group != nil:
			b.deliverShared(e.group, r)
		case !e.session.many.Load():
			e.session.deliver(r, e.opt, e.opt.identifiers())
		case !twins[e.session]:
			if twins != nil {
				twins[e.session] = true
			}
			opt, ids := merge(matches[i:], e.session, r)
			e.session.deliver(r, opt, ids)
		}
	}
}

// deliverShared gives r to one member; one whose session ends at this moment
// is passed over.
func (b *Broker) deliverShared(g *group, r *routed) {
	const tries = 4
	for range tries {
		member := g.pick(r)
		if member == nil {
			break
		}
		if member.session.deliver(r, member.opt, member.opt.identifiers()) {
			return
		}
	}
	b.count.Dropped.Inc("no_member")
}

// orphans ends a session's subscriptions and gives what others of its shared ones
// should have (MQTT 5, 4.8.2): QoS 1 that was not acknowledged, and everything
// that was not sent. QoS 2 in flight goes to nobody else (MQTT-4.8.2-5).
func (s *session) orphans() (all []outgoing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	for _, sub := range s.subs {
		s.b.index.remove(sub.filter, sub.entry)
	}
	clear(s.subs)
	s.flight.Each(func(f *flight) bool {
		if f.Item.shared != nil && f.Item.qos == 1 {
			all = append(all, f.Item)
		}
		return true
	})
	s.waiting.Each(func(o *outgoing) bool {
		if o.shared != nil {
			all = append(all, *o)
		}
		return true
	})
	return all
}

// handOver gives each of all to another member of its group.
func (b *Broker) handOver(all []outgoing) {
	for _, o := range all {
		r := &routed{Message: o.Message, at: o.at, expires: o.expires, size: o.size}
		b.deliverShared(o.shared, r)
		b.secure(r, false, ignore)
	}
}

func (o options) identifiers() []int {
	if o.id == 0 {
		return nil
	}
	return []int{o.id}
}

// merge joins all matches of one session into one delivery: the highest QoS
// and every identifier (MQTT 5, 3.3.4), and takes them out of the list.
func merge(matches []*entry, s *session, r *routed) (options, []int) {
	own := r.Origin.ClientID == s.id
	opt := options{noLocal: true}
	var ids []int
	for i, e := range matches {
		if e == nil || e.group != nil || e.session != s {
			continue
		}
		matches[i] = nil
		if e.opt.noLocal && own {
			continue
		}
		opt.noLocal = false
		opt.qos = max(opt.qos, e.opt.qos)
		opt.asPublished = opt.asPublished || e.opt.asPublished
		if e.opt.id > 0 {
			ids = append(ids, e.opt.id)
		}
	}
	return opt, ids
}

// outcome of a send.
type outcome int

const (
	sent outcome = iota
	noRoom
	tooLarge
)

// send encodes o for c into its write buffer.
func (c *client) send(o *outgoing, id uint16, dup bool, class wire.Class, now time.Time) outcome {
	alias, known := c.given.Of(o.Topic)
	topic := o.Topic
	if known {
		topic = ""
	}
	props := c.properties(o, alias, now)
	total, remaining := wire.PublishSize(topic, o.qos, props, o.Payload)
	if alias > 0 && !known && c.maxPacket > 0 && total > c.maxPacket { // an alias must not cost the message
		alias, props = 0, c.properties(o, 0, now)
		total, remaining = wire.PublishSize(topic, o.qos, props, o.Payload)
	}
	if c.maxPacket > 0 && total > c.maxPacket {
		c.b.count.Dropped.Inc("too_large")
		return tooLarge
	}
	first := byte(0x30) | o.qos<<1
	if dup {
		first |= 0x08
	}
	if o.retain {
		first |= 0x01
	}
	buf, ok := c.conn.Begin(total, class)
	if !ok {
		return noRoom
	}
	c.conn.End(wire.AppendPublish(buf, first, remaining, topic, id, props, o.Payload))
	if alias > 0 && !known {
		c.given.Told(topic, alias)
	}
	c.b.count.Sent(o.qos)
	return sent
}

// properties encodes the property block of o for c; MQTT 3.1.1 has none.
func (c *client) properties(o *outgoing, alias uint16, now time.Time) []byte {
	switch {
	case c.version < 5:
		return nil
	case o.Properties == nil && len(o.ids) == 0 && alias == 0:
		return noProperties
	}
	return wire.EncodeProperties(o.Properties, o.left(now), o.ids, alias)
}
