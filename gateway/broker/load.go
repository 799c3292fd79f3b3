package broker

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tidehold/tidehold/gateway/broker/keep"
	"github.com/tidehold/tidehold/gateway/broker/wire"
)

// Load brings back what was kept. It must come before Listen, so that every
// session exists before the first publish is accepted.
func (b *Broker) Load(ctx context.Context) error {
	state, err := b.cfg.Keeper.Load(ctx)
	if err != nil {
		return fmt.Errorf("broker: load sessions and retained messages: %w", err)
	}
	now := time.Now()
	for _, m := range state.Retained {
		if r := restored(m); r.expired(now) {
			b.retained.Expired(m.Message.Topic)
		} else {
			b.retained.Put(r.retained())
		}
	}
	known := make(map[int64]*session)
	for _, k := range state.Sessions {
		b.kept.session.Store(max(b.kept.session.Load(), k.Number))
		if s := b.restore(k, now); s != nil {
			known[k.Number] = s
		}
	}
	for _, x := range state.Inbound {
		if s := known[x.Session]; s != nil {
			s.inbound.Restore(x.PacketID)
		}
	}
	b.restoreMessages(state, known)
	for _, s := range known {
		b.look(s)
	}
	return nil
}

func restored(m keep.Message) *routed {
	r := newRouted(m.Message, m.At)
	r.expires = m.Expires
	return r
}

// restore makes a session again; nil when its life is over. One that was
// connected when the process ended is away from now on.
func (b *Broker) restore(k keep.Session, now time.Time) *session {
	s := newSession(b, k.Client, k.Owner)
	s.number, s.expiry = k.Number, k.Expiry
	s.expires = now.Add(k.Expiry)
	if !k.Away.IsZero() {
		s.expires = k.Away.Add(k.Expiry)
	}
	if k.Will != nil {
		s.will = &lastWill{message: k.Will.Message, at: k.Will.At}
	}
	if !now.Before(s.expires) && s.will == nil {
		b.cfg.Keeper.Keep(keep.Change{Ended: k.Number}, nil)
		return nil
	}
	for _, sub := range k.Subs {
		f, err := wire.ParseFilter(sub.Filter)
		if err != nil {
			b.log.Warn("a stored subscription is not legal and is dropped", "client", k.Client, "filter", sub.Filter, "err", err)
			continue
		}
		e := &entry{session: s, opt: options{qos: sub.QoS, noLocal: sub.NoLocal, asPublished: sub.AsPublished,
			retainHandling: sub.RetainHandling, id: sub.Identifier}}
		s.subs[sub.Filter] = subscription{f, e}
		b.index.replace(f, nil, e)
	}
	s.many.Store(len(s.subs) > 1)
	b.sessions.put(s)
	if k.Away.IsZero() {
		s.save(ignore) // its time away is counted from now, also after the next crash
	}
	return s
}

// restoreMessages fills the queues. What clients had received of QoS 2 is in
// flight; everything else waits, and may have been sent before.
func (b *Broker) restoreMessages(state keep.State, known map[int64]*session) {
	progress := make(map[int64]*keep.Progress)
	for _, p := range state.Progress {
		progress[p.Session] = &p
		b.kept.session.Store(max(b.kept.session.Load(), p.Session))
		if s := known[p.Session]; s != nil {
			s.next = p.Next
		}
	}
	queues := make(map[*session][]outgoing)
	for _, m := range state.Messages {
		r, k := restored(m), &stored{id: m.ID}
		k.outcome.Store(safe)
		k.waiting.Store(1)
		b.kept.message.Store(max(b.kept.message.Load(), m.ID))
		for _, ref := range m.Refs {
			b.kept.session.Store(max(b.kept.session.Load(), ref.Session))
			s := known[ref.Session]
			if s == nil || progress[ref.Session].Finished(ref.N) {
				continue
			}
			k.waiting.Add(1)
			queues[s] = append(queues[s], outgoing{routed: r, qos: ref.QoS, retain: ref.Retain, ids: ref.IDs, n: ref.N, kept: k, again: true})
		}
		b.letGo(k, nil)
	}
	for s, all := range queues {
		s.refill(all, progress[s.number])
	}
}

func (s *session) refill(all []outgoing, p *keep.Progress) {
	slices.SortFunc(all, func(a, b outgoing) int { return cmp.Compare(a.n, b.n) })
	for _, o := range all {
		s.next = max(s.next, o.n+1)
		s.b.budget.Force(o.size)
		s.holds += o.size
		if p != nil && slices.Contains(p.Received, o.n) {
			f := s.flight.Add(o.n, o, false)
			f.Received, f.Released = true, true
			s.b.count.Inflight.Add(1)
			continue
		}
		s.waiting.Push(o, o.size)
		s.b.count.Queued.Add(1)
	}
}
