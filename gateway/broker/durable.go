package broker

import (
	"cmp"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/tidehold/tidehold/gateway/broker/inbound"
	"github.com/tidehold/tidehold/gateway/broker/keep"
	"github.com/tidehold/tidehold/gateway/broker/wire"
	"github.com/tidehold/tidehold/gateway/iot"
)

// ledger gives out the numbers under which sessions and messages are kept.
type ledger struct {
	sessions bool // persistent sessions are kept
	session  atomic.Int64
	message  atomic.Int64
	arrivals inbound.Arrivals
}

// stored is a message on disk, or on its way there, until the last session has
// it; then its row goes.
type stored struct {
	id      int64
	waiting atomic.Int32 // sessions, and whoever is handing it out
	outcome atomic.Int32
}

const (
	undecided int32 = iota
	safe
	failed
)

// ready tells whether o may be sent. QoS 2 waits for the commit: a crash before
// it would have the publisher send the message again, under another id.
func (o *outgoing) ready() (ready, lost bool) {
	if o.kept == nil || o.qos < 2 {
		return true, false
	}
	outcome := o.kept.outcome.Load()
	return outcome == safe, outcome == failed
}

// place gives o its place in the session's order, and notes the session as one
// that the message is kept for.
func (s *session) place(o *outgoing) {
	o.n = s.next
	s.next++
	if s.number == 0 {
		return
	}
	if o.stored == nil {
		o.stored = &stored{id: s.b.kept.message.Add(1)}
		o.stored.waiting.Store(1)
	}
	o.kept = o.stored
	o.kept.waiting.Add(1)
	o.refs = append(o.refs, keep.Ref{Session: s.number, N: o.n, QoS: o.qos, Retain: o.retain, IDs: o.ids})
	if o.qos == 2 {
		o.held = append(o.held, s)
	}
}

// secure has r kept for the sessions that got it, and as a retained message.
func (b *Broker) secure(r *routed, retained bool, done func(error)) {
	var c keep.Change
	if retained {
		c.Retained = r.record()
	}
	k := r.stored
	switch {
	case k == nil && !retained:
		done(nil)
		return
	case k == nil && r.QoS == 0:
		b.cfg.Keeper.Keep(c, nil)
		done(nil)
		return
	case k == nil:
		b.cfg.Keeper.Keep(c, done)
		return
	}
	c.Message = r.record()
	c.Message.ID, c.Message.Refs = k.id, r.refs
	c.Opened = b.kept.arrivals.Take(r.Origin.Exchange)
	held := r.held
	r.refs, r.held = nil, nil
	b.cfg.Keeper.Keep(c, func(err error) {
		k.decide(err)
		for _, s := range held {
			s.proceed()
		}
		done(err)
	})
	b.letGo(k, nil)
}

func (k *stored) decide(err error) {
	if err != nil && !errors.Is(err, keep.ErrVolatile) {
		k.outcome.Store(failed)
		return
	}
	k.outcome.Store(safe)
}

// proceed sends what waited for a commit.
func (s *session) proceed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.connection(); c != nil {
		s.pump(c, time.Now())
	}
}

// let notes that the session is done with o.
func (s *session) let(o outgoing) {
	if o.kept == nil {
		return
	}
	var moved keep.Mover
	if s.number != 0 {
		moved = mover{s, s.number}
	}
	s.b.letGo(o.kept, moved)
}

func (b *Broker) letGo(k *stored, moved keep.Mover) {
	c := keep.Change{Moved: moved}
	if k.waiting.Add(-1) == 0 {
		c.Dropped = k.id
	}
	if c.Dropped != 0 || moved != nil {
		b.cfg.Keeper.Keep(c, nil)
	}
}

// record is r as it is kept.
func (r *routed) record() *keep.Message {
	return &keep.Message{Message: r.Message, At: r.at, Expires: r.expires}
}

// bring marks m as brought by a QoS 2 exchange of a kept session, so that its
// id is committed with it. The result forgets that again.
func (b *Broker) bring(m *iot.Message, s *session, id uint16) (forget func()) {
	s.mu.Lock()
	number := s.number
	s.mu.Unlock()
	if number == 0 {
		return func() {}
	}
	mark, forget := b.kept.arrivals.Bring(s.inbound, keep.Exchange{Session: number, PacketID: id})
	m.Origin.Exchange = mark
	return forget
}

// release answers PUBREL. Of an exchange on disk the end is there too before
// PUBCOMP lets the client use its id for another message.
func (c *client) release(id uint16) {
	s := c.session
	kept, ok := s.inbound.Release(id)
	code := byte(wire.CodeSuccess)
	if !ok {
		code = wire.CodeIDNotFound
	}
	s.mu.Lock()
	number := s.number
	s.mu.Unlock()
	if !kept || number == 0 {
		c.sendAck(packets.Pubcomp, id, code)
		return
	}
	c.b.cfg.Keeper.Keep(keep.Change{Released: keep.Exchange{Session: number, PacketID: id}},
		func(error) { c.sendAck(packets.Pubcomp, id, code) })
}

func (c *client) sendAck(kind byte, id uint16, code byte) {
	var space [8]byte
	c.conn.Send(wire.AppendAck(space[:0], kind, id, c.version, code), wire.Must)
}

// keepReceived has PUBREL wait until it is on disk that message n was
// received: after PUBREL the client forgets the id. A disk that fails must not
// hold the client up; then a crash may bring the message again.
func (s *session) keepReceived(n uint64) {
	s.b.cfg.Keeper.Keep(keep.Change{Moved: mover{s, s.number}}, func(error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		f := s.flight.At(n)
		if f == nil {
			return
		}
		f.Released = true
		if c := s.connection(); c != nil && f.Fresh() {
			c.sendAck(packets.Pubrel, f.ID(), wire.CodeSuccess)
		}
	})
}

// mover is a session as the Keeper sees it.
type mover struct {
	s      *session
	number int64
}

func (m mover) Number() int64 { return m.number }

// Progress lists what is done beside what waits: everything before the first
// message that is here, and the gaps up to the last one in flight.
func (m mover) Progress() keep.Progress {
	s := m.s
	s.mu.Lock()
	defer s.mu.Unlock()
	p := keep.Progress{Session: s.number, Next: s.next, Low: s.next}
	var here []uint64
	s.flight.Each(func(f *flight) bool {
		here = append(here, f.N)
		if f.Received {
			p.Received = append(p.Received, f.N)
		}
		return true
	})
	last := slices.Max(append(here, 0))
	s.waiting.Each(func(o *outgoing) bool {
		here = append(here, o.n)
		return o.n <= last // those behind follow without a gap that matters
	})
	if s.waiting.Len() == 0 {
		here = append(here, s.next)
	}
	p.Set(here)
	return p
}

// settleNumber has the session kept, or not any more, as its expiry says.
func (s *session) settleNumber() {
	if s.expiry <= 0 {
		s.unkeep(ignore)
		return
	}
	if s.number == 0 && s.b.kept.sessions {
		s.number = s.b.kept.session.Add(1)
	}
	s.save(ignore)
}

func (s *session) unkeep(done func(error)) {
	number := s.number
	s.number = 0
	if number == 0 {
		done(nil)
		return
	}
	s.b.cfg.Keeper.Keep(keep.Change{Ended: number}, done)
}

// save keeps the session as it is now, with its lock held.
func (s *session) save(done func(error)) { s.saveWith(nil, done) }

func (s *session) saveWith(more []request, done func(error)) {
	if s.number == 0 || s.ended {
		done(nil)
		return
	}
	k := &keep.Session{Number: s.number, Client: s.id, Owner: s.owner, Expiry: s.expiry}
	if s.connection() == nil {
		k.Away = s.expires.Add(-s.expiry)
	}
	if s.will != nil {
		k.Will = &keep.Will{Message: s.will.message, At: s.will.at}
	}
	subs := make(map[string]options, len(s.subs)+len(more))
	for text, sub := range s.subs {
		subs[text] = sub.entry.opt
	}
	for _, q := range more {
		if q.code < wire.CodeUnspecified {
			subs[q.filter.Text] = q.opt
		}
	}
	for text, opt := range subs {
		k.Subs = append(k.Subs, keep.Subscription{Filter: text, QoS: opt.qos, NoLocal: opt.noLocal,
			AsPublished: opt.asPublished, RetainHandling: opt.retainHandling, Identifier: opt.id})
	}
	slices.SortFunc(k.Subs, func(a, b keep.Subscription) int { return cmp.Compare(a.Filter, b.Filter) })
	s.b.cfg.Keeper.Keep(keep.Change{Session: k}, done)
}

// foresee keeps the subscriptions that are about to be entered, so that they
// are on disk before SUBACK and messages meet them in one step with it.
func (s *session) foresee(c *client, requests []request, done func(error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.connection() != c {
		done(nil)
		return
	}
	s.saveWith(requests, done)
}

// wait calls f and waits for its done. What could not be kept is logged and
// works in memory: a sick disk does not lock clients out.
func (b *Broker) wait(f func(done func(error))) {
	outcome := make(chan error, 1)
	f(func(err error) { outcome <- err })
	if err := <-outcome; err != nil {
		if missed, ok := b.denials.Pass("keep", time.Now()); ok {
			b.log.Warn("a session was not stored", "err", err, "missed", missed)
		}
	}
}
