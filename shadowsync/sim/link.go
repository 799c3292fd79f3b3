package sim

import (
	"time"

	"github.com/tidehold/tidehold/gateway/topic"
)

// link is a connection with a persistent session: first in, first out each
// way; it loses, doubles and delays.
type link struct {
	w       *World
	g       *gateway
	up      bool
	epoch   int // of the connection
	session bool
	waiting []message // in the session, not delivered yet
	lastUp  time.Duration
	lastDn  time.Duration
}

// send takes a request of the gateway.
func (l *link) send(op topic.Op, payload []byte) {
	if !l.up {
		l.w.log("%s sends %s into the void", l.g.name, op)
		return
	}
	if l.w.chance(l.w.o.LoseUp) {
		l.w.log("%s %s %s is lost", l.g.name, op, payload)
		return
	}
	l.lastUp = max(l.lastUp, l.w.now) + l.latency()
	epoch := l.epoch
	deliver := func() {
		if l.epoch != epoch && l.w.rand.IntN(2) == 0 {
			l.w.log("%s %s %s is lost with its connection", l.g.name, op, payload)
			return
		}
		l.w.log("%s %s %s arrives", l.g.name, op, payload)
		l.w.cloud.request(l.g, op, payload)
	}
	l.w.at(l.lastUp, deliver)
	if l.w.chance(l.w.o.Double) {
		l.w.at(l.lastUp, deliver)
	}
}

// latency is short, and sometimes longer than anybody waits.
func (l *link) latency() time.Duration {
	if l.w.chance(3) {
		return l.w.between(10*time.Second, 30*time.Second)
	}
	return l.w.between(time.Millisecond, 200*time.Millisecond)
}

// down puts a message into the session.
func (l *link) down(m message) {
	if !l.session || l.w.chance(l.w.o.LoseDown) {
		return
	}
	l.waiting = append(l.waiting, m)
	if l.up {
		l.deliverNext()
	}
}

// deliverNext schedules the delivery of the head of the session's queue.
func (l *link) deliverNext() {
	l.lastDn = max(l.lastDn, l.w.now) + l.latency()
	epoch := l.epoch
	l.w.at(l.lastDn, func() {
		if l.epoch != epoch || len(l.waiting) == 0 {
			return
		}
		m := l.waiting[0]
		l.waiting = l.waiting[1:]
		l.g.hear(m)
		if l.w.chance(l.w.o.Double) {
			l.g.hear(m)
		}
	})
}

// cut takes the connection away for a while; lost also ends the session.
func (l *link) cut(d time.Duration, lost bool) {
	l.drop(lost)
	epoch := l.epoch
	l.w.after(d, func() {
		if l.epoch == epoch {
			l.connect()
		}
	})
}

func (l *link) drop(lost bool) {
	l.w.log("%s link goes down (session lost: %v)", l.g.name, lost)
	l.up = false
	l.epoch++
	if lost {
		l.session, l.waiting = false, nil
	}
	l.g.offline()
}

func (l *link) connect() {
	if !l.g.alive {
		return
	}
	l.w.log("%s link comes up (session present: %v, %d waiting)", l.g.name, l.session, len(l.waiting))
	l.up, l.session = true, true
	l.epoch++
	l.g.online()
	for range l.waiting {
		l.deliverNext()
	}
}
