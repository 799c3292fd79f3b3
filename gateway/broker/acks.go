package broker

import (
	"sync"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/tidehold/tidehold/gateway/broker/wire"
	"github.com/tidehold/tidehold/gateway/iot"
)

// pending is an inbound PUBLISH that has not been acknowledged.
type pending struct {
	c    *client
	kind byte // PUBACK or PUBREC
	id   uint16
	done bool
	mute bool // refused, and MQTT 3.1.1 has no word for it
	code byte
}

// ackLine holds the unacknowledged messages of one publisher and lets the
// acknowledgements out in the order of the PUBLISH packets, each as soon as
// its message and all before it are safe (MQTT-4.6.0-2).
type ackLine struct {
	limit int

	mu     sync.Mutex
	room   *sync.Cond
	line   []*pending // from head on
	head   int
	closed bool
}

func (a *ackLine) open(limit int) {
	a.limit = limit
	a.room = sync.NewCond(&a.mu)
}

// join puts p at the end; it waits while the line is full. False: the
// connection ended.
func (a *ackLine) join(p *pending) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.limit > 0 && len(a.line)-a.head >= a.limit && !a.closed {
		a.room.Wait()
	}
	if a.closed {
		return false
	}
	if a.head > len(a.line)/2 {
		n := copy(a.line, a.line[a.head:])
		clear(a.line[n:])
		a.line, a.head = a.line[:n], 0
	}
	a.line = append(a.line, p)
	return true
}

// close frees whoever waits; what is unacknowledged stays so.
func (a *ackLine) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	a.room.Broadcast()
}

// finish is the done of House.Accept for p. It never blocks.
func (p *pending) finish(err error) {
	if err == nil {
		p.settle(wire.CodeSuccess, false)
		return
	}
	p.settle(iot.CodeOf(err).ReasonCode(), p.c.version < 5)
}

// settle gives p its answer and sends all answers that are due.
func (p *pending) settle(code byte, mute bool) {
	a := &p.c.acks
	a.mu.Lock()
	defer a.mu.Unlock()
	if p.done {
		return
	}
	p.done, p.code, p.mute = true, code, mute
	if a.head == len(a.line) || a.line[a.head] != p {
		return
	}
	var space [64]byte
	out := space[:0]
	for ; a.head < len(a.line) && a.line[a.head].done; a.head++ {
		if q := a.line[a.head]; !q.mute {
			out = wire.AppendAck(out, q.kind, q.id, p.c.version, q.code)
		}
		a.line[a.head] = nil
	}
	if a.head == len(a.line) {
		a.line, a.head = a.line[:0], 0
	}
	p.c.conn.Send(out, wire.Must)
	a.room.Signal()
}

// exchanges are the QoS 2 messages a client has sent and not released: a
// packet id in here is not delivered again (MQTT 3.1.1, 4.3.3 method B).
type exchanges struct {
	mu   sync.Mutex
	open map[uint16]*exchange
}

type exchange struct {
	safe    bool
	waiting []*pending // PUBRECs to send once it is safe
}

// begin joins p to the exchange of its id. fresh: the message must be
// delivered; otherwise it was seen before, and p gets the answer of the first.
func (x *exchanges) begin(p *pending) (ex *exchange, fresh bool) {
	x.mu.Lock()
	ex = x.open[p.id]
	switch {
	case ex == nil:
		if x.open == nil {
			x.open = make(map[uint16]*exchange)
		}
		ex = &exchange{waiting: []*pending{p}}
		x.open[p.id] = ex
		fresh = true
	case !ex.safe:
		ex.waiting = append(ex.waiting, p)
	}
	safe := ex.safe
	x.mu.Unlock()
	if safe {
		p.finish(nil)
	}
	return ex, fresh
}

// finish is the done of House.Accept for an exchange; a refused one is over.
func (x *exchanges) finish(ex *exchange, id uint16, err error) {
	x.mu.Lock()
	ex.safe = err == nil
	if err != nil && x.open[id] == ex {
		delete(x.open, id)
	}
	waiting := ex.waiting
	ex.waiting = nil
	x.mu.Unlock()
	for _, p := range waiting {
		p.finish(err)
	}
}

func (x *exchanges) len() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.open)
}

// release ends the exchange of id; false when there is none.
func (x *exchanges) release(id uint16) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	_, ok := x.open[id]
	delete(x.open, id)
	return ok
}

// release answers PUBREL.
func (c *client) release(id uint16) {
	code := byte(wire.CodeSuccess)
	if !c.session.inbound.release(id) {
		code = wire.CodeIDNotFound
	}
	var space [8]byte
	c.conn.Send(wire.AppendAck(space[:0], packets.Pubcomp, id, c.version, code), wire.Must)
}
