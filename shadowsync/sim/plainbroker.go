package sim

import (
	"strings"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/topic"
)

// plainBroker keeps retained messages and one persistent session: what is not
// acknowledged comes again with the next connection.
type plainBroker struct {
	p        *plainWorld
	take     func(iot.Message, func()) // of the process that lives
	up       bool
	session  bool
	epoch    int    // of the connection
	sessions uint64 // lost so far
	queue    []*parcel
	retained map[string][]byte
	last     time.Duration // arrival of the message before
	copies   int           // documents that arrived
	newest   [2]int64      // epoch and version of the newest
}

// parcel is a message to the gateway.
type parcel struct {
	topic   string
	payload []byte
	acked   bool
}

// Subscribe takes the carrier's way in: the same for every filter.
func (b *plainBroker) Subscribe(_ topic.Filter, take func(iot.Message, func())) { b.take = take }

// Publish brings an answer or a copy to the broker, in order; what is under way
// when the connection ends may arrive or not.
func (b *plainBroker) Publish(name string, payload []byte, retain bool, done func(error)) {
	if !b.up {
		done(errCut)
		return
	}
	epoch, life := b.epoch, b.p.life
	lost := retain && b.p.o.Mutation == CopyOnce && b.p.chance(30)
	b.last = max(b.last, b.p.now) + b.p.between(time.Millisecond, 100*time.Millisecond)
	b.p.at(b.last, func() {
		gone := b.epoch != epoch
		if !lost && (!gone || b.p.rand.IntN(2) == 0) {
			b.arrived(name, payload, retain)
		}
		if b.p.life != life {
			return
		}
		if gone {
			done(errCut)
		} else {
			done(nil)
		}
		b.p.turn()
	})
}

func (b *plainBroker) arrived(name string, payload []byte, retain bool) {
	if retain {
		b.retained[name] = payload
		b.copies++
		b.p.judge.copied(payload)
		return
	}
	for _, a := range b.p.apps {
		a.hear(strip(name), payload)
	}
}

// post is an app's message; a slot is kept, and an empty one clears it.
func (b *plainBroker) post(name string, payload []byte) {
	if strings.Contains(name, "/want/") {
		b.retained[name] = payload
	}
	if !b.session {
		return
	}
	b.queue = append(b.queue, &parcel{topic: name, payload: payload})
	if b.p.chance(b.p.o.Double) {
		b.queue = append(b.queue, &parcel{topic: name, payload: payload})
	}
	b.deliver()
}

// deliver hands over what waits, in order.
func (b *plainBroker) deliver() {
	epoch := b.epoch
	b.p.after(b.p.between(time.Millisecond, 100*time.Millisecond), func() {
		if b.epoch != epoch || !b.up || !b.p.alive {
			return
		}
		waiting := b.queue
		b.queue = nil
		for _, m := range waiting {
			b.take(iot.Message{Topic: m.topic, Payload: m.payload}, func() { m.acked = true })
		}
		b.p.turn()
		for _, m := range waiting {
			if !m.acked {
				b.queue = append(b.queue, m)
			}
		}
	})
}

func (b *plainBroker) cut(d time.Duration, forget bool) {
	b.drop(forget)
	epoch := b.epoch
	b.p.after(d, func() {
		if b.epoch == epoch && b.p.alive {
			b.connect()
		}
	})
}

func (b *plainBroker) drop(forget bool) {
	b.p.log("link goes down (session lost: %v)", forget)
	b.up = false
	b.epoch++
	if forget && b.session {
		b.session, b.queue = false, nil
		b.sessions++
	}
	if b.p.alive {
		b.p.server.Offline()
		b.p.turn()
	}
}

func (b *plainBroker) connect() {
	b.p.log("link comes up, session %d", b.sessions)
	b.up, b.session = true, true
	b.epoch++
	for _, name := range b.slots() {
		b.queue = append(b.queue, &parcel{topic: name, payload: b.retained[name]})
	}
	b.p.server.Online(b.sessions)
	b.p.turn()
	b.deliver()
}

// slots names the intent slots in use, in order.
func (b *plainBroker) slots() (names []string) {
	for _, a := range b.p.apps {
		if name := plainPrefix + "want/" + a.name; len(b.retained[name]) > 0 {
			names = append(names, name)
		}
	}
	return names
}
