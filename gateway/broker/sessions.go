package broker

import (
	"context"
	"sync"
	"time"

	"github.com/tidehold/tidehold/gateway/broker/lifecycle"
	"github.com/tidehold/tidehold/gateway/broker/seat"
	"github.com/tidehold/tidehold/gateway/broker/wire"
	"github.com/tidehold/tidehold/gateway/iot"
)

// takeoverPatience is how long a new connection waits for the goroutine of the
// one it replaces.
const takeoverPatience = 2 * time.Second

// sessions holds one session for each client id.
type sessions struct {
	seats seat.Seats
	mu    sync.Mutex
	byID  map[iot.ClientID]*session
	next  time.Time // when the housekeeper looks; zero = never
}

func newSessions() *sessions {
	return &sessions{byID: make(map[iot.ClientID]*session)}
}

func (t *sessions) get(id iot.ClientID) *session {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byID[id]
}

func (t *sessions) put(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byID[s.id] = s
}

// remove takes s out, unless another has its place already.
func (t *sessions) remove(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byID[s.id] == s {
		delete(t.byID, s.id)
	}
}

func (t *sessions) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byID)
}

func (t *sessions) connected(id iot.ClientID) *client {
	if s := t.get(id); s != nil {
		return s.connection()
	}
	return nil
}

// each calls f for all sessions there were when it was called.
func (t *sessions) each(f func(*session)) {
	t.mu.Lock()
	all := make([]*session, 0, len(t.byID))
	for _, s := range t.byID {
		all = append(all, s)
	}
	t.mu.Unlock()
	for _, s := range all {
		f(s)
	}
}

// lastWill is a will whose connection ended.
type lastWill struct {
	public  *Client // nil after a restart
	message iot.Message
	delay   time.Duration
	at      time.Time
}

// attach gives c its session: the one of its client id and principal, or a new
// one. Whoever holds the client id is disconnected first.
func (b *Broker) attach(c *client, connack func(present bool) []byte) {
	defer b.sessions.seats.Lock(c.public.ID)()
	for {
		s := b.sessions.get(c.public.ID)
		if s != nil {
			b.evict(s, ending{code: wire.CodeTakenOver, event: lifecycle.Duplicate, text: "another connection uses this client id"})
			s = b.sessions.get(c.public.ID)
		}
		present := s != nil && !c.public.CleanStart && s.owner == c.public.Principal
		if !present {
			if s != nil {
				b.wait(func(done func(error)) { b.over(s, done) })
			}
			s = newSession(b, c.public.ID, c.public.Principal)
			b.sessions.put(s)
		}
		if s.adopt(c, connack(present)) {
			return
		}
		b.sessions.remove(s)
	}
}

// evict ends the connection that s has or had, and waits until it is cleaned
// up after, so that events and messages of the two do not mix.
func (b *Broker) evict(s *session, why ending) {
	s.mu.Lock()
	old := s.latest
	s.mu.Unlock()
	if old == nil {
		return
	}
	old.stop(why)
	t := time.NewTimer(takeoverPatience)
	defer t.Stop()
	select {
	case <-old.gone:
	case <-t.C:
		b.log.Warn("connection replaced while its last message is being taken in", "client", s.id)
	}
}

// over ends a session and sends the will that waited for that.
func (b *Broker) over(s *session, done func(error)) {
	b.sessions.remove(s)
	b.handOver(s.orphans()) // before clear: on disk in one place at least
	if will := s.clear(done); will != nil {
		b.sendWill(will)
	}
}

// leave cleans up after a connection.
func (b *Broker) leave(c *client) {
	now := time.Now()
	will := b.willOf(c)
	due, over := c.session.release(c, will, now)
	if over {
		b.over(c.session, ignore)
	} else {
		b.look(c.session)
	}
	if due != nil {
		b.sendWill(due)
	}
	b.presence.Leave(c.public.ID, now, c.public.SessionExpiry)
	b.emit(lifecycle.Disconnected(c.subject(), c.end.event, b.clk.Now()))
	b.count.Connections.Add(-1)
	b.log.Debug("client disconnected", "client", c.public.ID, "reason", c.end.event, "err", c.end.text)
}

// willOf is the will that the end of c calls for. A stop of the gateway calls
// for none: everybody here is gone then.
func (b *Broker) willOf(c *client) *lastWill {
	if c.end.clean || c.public.Will == nil || c.end.code == wire.CodeShuttingDown {
		return nil
	}
	public := c.public // the connection itself need not wait with its will
	return &lastWill{public: &public, message: *c.public.Will, delay: c.willDelay}
}

// sendWill checks a will again, as the client may do less by now, and sends it.
func (b *Broker) sendWill(w *lastWill) {
	m := w.message
	_, refusal := b.judgeTopic(m.Topic)
	var err error
	if refusal != nil {
		err = refusal
	} else if w.public != nil { // one from before a restart was checked at CONNECT
		err = b.auth.Publish(w.public, m.Topic, m.Retain)
	}
	if err != nil {
		b.count.Denied.Inc("will")
		b.log.Warn("authz.denied", "client", m.Origin.ClientID, "action", "will", "topic", m.Topic, "err", err)
		return
	}
	m.Arrived = b.clk.Now()
	b.house.Accept(m, ignore)
}

// look has the housekeeper visit s when its time comes.
func (b *Broker) look(s *session) {
	s.mu.Lock()
	at := s.due()
	s.mu.Unlock()
	if at.IsZero() {
		return
	}
	t := b.sessions
	t.mu.Lock()
	sooner := t.next.IsZero() || at.Before(t.next)
	if sooner {
		t.next = at
	}
	t.mu.Unlock()
	if sooner {
		select {
		case b.wakeup <- struct{}{}:
		default:
		}
	}
}

// due is when something happens to a session that is away; zero = never.
func (s *session) due() time.Time {
	at := s.expires
	if s.will != nil && (at.IsZero() || s.will.at.Before(at)) {
		at = s.will.at
	}
	return at
}

// keepHouse ends sessions and sends wills in their time.
func (b *Broker) keepHouse(ctx context.Context) {
	for {
		b.sessions.mu.Lock()
		next := b.sessions.next
		b.sessions.mu.Unlock()
		pause := time.Hour
		if !next.IsZero() {
			pause = min(pause, time.Until(next))
		}
		t := time.NewTimer(max(0, pause))
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-b.wakeup:
			t.Stop()
		case <-t.C:
			b.sweep(time.Now())
		}
	}
}

func (b *Broker) sweep(now time.Time) {
	b.retained.Expire(now)
	b.sessions.mu.Lock()
	b.sessions.next = time.Time{}
	b.sessions.mu.Unlock()
	b.sessions.each(func(s *session) {
		will, over := s.ripe(now)
		if over {
			b.over(s, ignore)
		} else {
			b.look(s)
		}
		if will != nil {
			b.sendWill(will)
		}
	})
}

// ripe gives the will that is due and tells whether the session's life is over.
func (s *session) ripe(now time.Time) (will *lastWill, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.connection() != nil || s.ended {
		return nil, false
	}
	if s.will != nil && !now.Before(s.will.at) {
		will, s.will = s.will, nil
		defer s.save(ignore)
	}
	if !s.expires.IsZero() && !now.Before(s.expires) {
		s.ended = true
		return will, true
	}
	return will, false
}
