package broker

import (
	"strings"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/tidehold/tidehold/gateway/broker/lifecycle"
	"github.com/tidehold/tidehold/gateway/broker/wire"
	"github.com/tidehold/tidehold/gateway/topic"
)

// request is one filter of a SUBSCRIBE and what became of it.
type request struct {
	filter wire.Filter
	opt    options
	code   byte
	fresh  bool // the session did not have it
}

// subscribe acts on SUBSCRIBE (MQTT 5, 3.8).
func (c *client) subscribe(fh packets.FixedHeader, body []byte) *ending {
	pk := packets.Packet{FixedHeader: fh, ProtocolVersion: c.version}
	if err := wire.Decode(pk.SubscribeDecode, body); err != nil {
		return malformed(err)
	}
	if pk.PacketID == 0 || len(pk.Filters) == 0 {
		return protocolError("SUBSCRIBE without packet id or filter")
	}
	if e := c.throttle(len(body)); e != nil {
		return e
	}
	requests := make([]request, len(pk.Filters))
	limit := c.b.cfg.Limits.MaxFiltersPerSubscribe
	for i, sub := range pk.Filters {
		if sub.RetainHandling > 2 || sub.Identifier < 0 || len(pk.Properties.SubscriptionIdentifier) > 0 && sub.Identifier == 0 {
			return protocolError("bad subscription options")
		}
		if sub.NoLocal && strings.HasPrefix(sub.Filter, "$share/") {
			return protocolError("no local on a shared subscription")
		}
		requests[i] = c.judge(sub)
		if limit > 0 && len(pk.Filters) > limit {
			requests[i].code = wire.CodeQuota
		}
	}
	c.b.wait(func(done func(error)) { c.session.foresee(c, requests, done) })
	c.session.subscribe(c, pk.PacketID, requests)
	c.b.subscribed(c, requests)
	return nil
}

// judge decides about one filter by all that does not need the session's lock.
func (c *client) judge(sub packets.Subscription) request {
	f, err := wire.ParseFilter(sub.Filter)
	q := request{filter: f, opt: options{
		qos: min(sub.Qos, c.b.cfg.Limits.MaxQoS), noLocal: sub.NoLocal, asPublished: sub.RetainAsPublished,
		retainHandling: sub.RetainHandling, id: sub.Identifier,
	}}
	l := &c.b.cfg.Limits
	switch {
	case err != nil,
		l.MaxTopicBytes > 0 && len(f.Topic) > l.MaxTopicBytes,
		l.MaxTopicLevels > 0 && topic.Levels(string(f.Topic)) > l.MaxTopicLevels:
		q.code = wire.CodeFilterInvalid
		return q
	}
	if err := c.b.auth.Subscribe(&c.public, f.Text); err != nil {
		if q.code = denialCode(err); q.code == wire.CodeNotAuthorized {
			q.code = c.b.cfg.SubackDenied
		}
		c.b.denied("subscribe")
		return q
	}
	q.code = q.opt.qos
	return q
}

// subscribe enters what was granted, answers, and sends the retained messages.
// All under one lock, so that no newer message overtakes a retained one.
func (s *session) subscribe(c *client, id uint16, requests []request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.connection() != c {
		return
	}
	codes := make([]byte, len(requests))
	for i := range requests {
		q := &requests[i]
		if q.code < wire.CodeUnspecified {
			s.enter(q)
		}
		if codes[i] = q.code; c.version < 5 && q.code >= wire.CodeUnspecified {
			codes[i] = wire.CodeUnspecified
		}
	}
	c.answer(packets.Suback, id, codes)
	now := time.Now()
	for _, q := range requests {
		if q.code < wire.CodeUnspecified {
			s.sendRetained(q, now)
		}
	}
}

func (s *session) enter(q *request) {
	old, had := s.subs[q.filter.Text]
	limit := s.b.cfg.Limits.MaxSubscriptionsPerClient
	if !had && (limit > 0 && len(s.subs) >= limit || s.b.index.len() >= s.b.cfg.MaxSubscriptions) {
		q.code = wire.CodeQuota
		return
	}
	q.fresh = !had
	e := &entry{session: s, opt: q.opt}
	s.subs[q.filter.Text] = subscription{q.filter, e}
	s.many.Store(len(s.subs) > 1)
	s.b.index.replace(q.filter, old.entry, e)
}

// sendRetained obeys retain handling: 0 always, 1 only to a new subscription,
// 2 never (MQTT 5, 3.3.1.3); shared subscriptions get none.
func (s *session) sendRetained(q request, now time.Time) {
	if q.filter.Share != "" || q.opt.retainHandling == 2 || q.opt.retainHandling == 1 && !q.fresh {
		return
	}
	for _, kept := range s.b.retained.Matching(q.filter.Topic, now) {
		if q.opt.noLocal && kept.Origin.ClientID == s.id {
			continue
		}
		r := &routed{Message: kept.Message, at: now, expires: kept.Expires, size: kept.Size} // it waits from now on
		s.put(outgoing{routed: r, qos: min(r.QoS, q.opt.qos), retain: true, ids: q.opt.identifiers()})
		s.b.secure(r, false, ignore)
	}
}

// answer sends SUBACK or UNSUBACK.
func (c *client) answer(kind byte, id uint16, codes []byte) {
	c.conn.Send(wire.EncodeCodes(kind, c.version, id, codes), wire.Must)
}

// unsubscribe acts on UNSUBSCRIBE.
func (c *client) unsubscribe(fh packets.FixedHeader, body []byte) *ending {
	pk := packets.Packet{FixedHeader: fh, ProtocolVersion: c.version}
	if err := wire.Decode(pk.UnsubscribeDecode, body); err != nil {
		return malformed(err)
	}
	if pk.PacketID == 0 || len(pk.Filters) == 0 {
		return protocolError("UNSUBSCRIBE without packet id or filter")
	}
	if e := c.throttle(len(body)); e != nil {
		return e
	}
	codes := make([]byte, len(pk.Filters))
	var removed []string
	for i, sub := range pk.Filters {
		if c.session.unsubscribe(c, sub.Filter) {
			removed = append(removed, sub.Filter)
		} else {
			codes[i] = wire.CodeNoSubscription
		}
	}
	c.b.wait(func(done func(error)) {
		c.session.mu.Lock()
		defer c.session.mu.Unlock()
		c.session.save(done)
	})
	c.answer(packets.Unsuback, pk.PacketID, codes)
	if len(removed) > 0 {
		c.b.emit(lifecycle.Unsubscribed(c.subject(), removed, c.b.clk.Now()))
	}
	return nil
}

func (s *session) unsubscribe(c *client, text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	sub, ok := s.subs[text]
	if !ok || s.connection() != c {
		return false
	}
	delete(s.subs, text)
	s.many.Store(len(s.subs) > 1)
	s.b.index.remove(sub.filter, sub.entry)
	return true
}

// subscribed tells the house which filters were granted.
func (b *Broker) subscribed(c *client, requests []request) {
	var granted []string
	for _, q := range requests {
		if q.code < wire.CodeUnspecified {
			granted = append(granted, q.filter.Text)
		}
	}
	if len(granted) > 0 {
		b.emit(lifecycle.Subscribed(c.subject(), granted, b.clk.Now()))
	}
}
