// Package inbound is what the publishers of QoS 1 and 2 wait for: the line of
// their acknowledgements and their QoS 2 exchanges.
//
// Order: acknowledgements leave in the order of the PUBLISH packets
// (MQTT-4.6.0-2). Blocking: Line.Join waits while the line is full, nothing
// else does. Limit: that of NewLine, and for exchanges the caller's.
package inbound

import (
	"errors"
	"sync"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/tidehold/tidehold/gateway/broker/wire"
	"github.com/tidehold/tidehold/gateway/iot"
)

// Full is in the error of a house that has no room for a message now: nothing
// was done with it, and it is worth another try when Room is closed.
type Full interface{ Room() <-chan struct{} }

// FullIn gives the Full in err, nil when there is none.
func FullIn(err error) Full {
	var full Full
	if err != nil && errors.As(err, &full) {
		return full
	}
	return nil
}

// Pending is an inbound PUBLISH that has not been acknowledged.
type Pending struct {
	line *Line
	kind byte // PUBACK or PUBREC
	id   uint16
	done bool
	mute bool // refused, and MQTT 3.1.1 has no word for it
	code byte
	full Full // why it must be offered again; of the goroutine that offers
}

// ackRoom is what a line keeps for its next acknowledgements.
const ackRoom = 256

// Line holds the unacknowledged messages of one publisher and lets the
// acknowledgements out in the order of the PUBLISH packets, each as soon as
// its message and all before it are safe (MQTT-4.6.0-2).
type Line struct {
	limit   int
	version byte
	send    func(acks []byte)

	mu     sync.Mutex
	room   *sync.Cond
	line   []*Pending // from head on
	head   int
	out    []byte // room for the acknowledgements of one send
	closed bool

	exchanges int // open ones begun here; under the lock of their Exchanges
}

// NewLine lets up to limit messages wait, any number with 0. send writes
// acknowledgements of an MQTT version and must not block.
func NewLine(limit int, version byte, send func(acks []byte)) *Line {
	a := &Line{limit: limit, version: version, send: send}
	a.room = sync.NewCond(&a.mu)
	return a
}

// Pending makes the place of a PUBLISH, outside the line.
func (a *Line) Pending(qos byte, id uint16) *Pending {
	kind := byte(packets.Puback)
	if qos == 2 {
		kind = packets.Pubrec
	}
	return &Pending{line: a, kind: kind, id: id}
}

// Join puts p at the end; it waits while the line is full. False: the
// connection ended.
func (a *Line) Join(p *Pending) bool {
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

// Close frees whoever waits; what is unacknowledged stays so.
func (a *Line) Close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	a.room.Broadcast()
}

// Full gives the reason to offer the message once more, once; nil when it was
// taken or refused for good.
func (p *Pending) Full() Full {
	full := p.full
	p.full = nil
	return full
}

// Finish is the done of House.Accept for p. It never blocks.
func (p *Pending) Finish(err error) {
	if err == nil {
		p.Settle(wire.CodeSuccess, false)
		return
	}
	if full := FullIn(err); full != nil {
		p.full = full // on the goroutine that offers: others must not touch it
		return
	}
	p.Settle(iot.CodeOf(err).ReasonCode(), p.line.version < 5)
}

// Settle gives p its answer and sends all answers that are due.
func (p *Pending) Settle(code byte, mute bool) {
	a := p.line
	a.mu.Lock()
	defer a.mu.Unlock()
	if p.done {
		return
	}
	p.done, p.code, p.mute = true, code, mute
	if a.head == len(a.line) || a.line[a.head] != p {
		return
	}
	out := a.out[:0]
	for ; a.head < len(a.line) && a.line[a.head].done; a.head++ {
		if q := a.line[a.head]; !q.mute {
			out = wire.AppendAck(out, q.kind, q.id, a.version, q.code)
		}
		a.line[a.head] = nil
	}
	if a.head == len(a.line) {
		a.line, a.head = a.line[:0], 0
	}
	a.send(out)
	if a.out = out; cap(out) > ackRoom {
		a.out = nil
	}
	a.room.Signal()
}

// Exchanges are the QoS 2 messages a client has sent and not released: a
// packet id in here is not delivered again (MQTT 3.1.1, 4.3.3 method B).
type Exchanges struct {
	mu   sync.Mutex
	open map[uint16]*Exchange
}

// Exchange is one of them.
type Exchange struct {
	line    *Line // of the connection that began it; nil after a restart
	safe    bool
	waiting []*Pending // PUBRECs to send once it is safe
	kept    bool       // it is on disk
}

// Begin joins p to the exchange of its id. fresh: the message must be
// delivered; otherwise it was seen before, and p gets the answer of the first.
func (x *Exchanges) Begin(p *Pending) (ex *Exchange, fresh bool) {
	x.mu.Lock()
	ex = x.open[p.id]
	switch {
	case ex == nil:
		if x.open == nil {
			x.open = make(map[uint16]*Exchange)
		}
		ex = &Exchange{line: p.line, waiting: []*Pending{p}}
		p.line.exchanges++
		x.open[p.id] = ex
		fresh = true
	case !ex.safe:
		ex.waiting = append(ex.waiting, p)
	}
	safe := ex.safe
	x.mu.Unlock()
	if safe {
		p.Finish(nil)
	}
	return ex, fresh
}

// Finish is the done of House.Accept for an exchange; a refused one is over, one
// that finds the house full stays open.
func (x *Exchanges) Finish(ex *Exchange, id uint16, err error) {
	x.mu.Lock()
	if full := FullIn(err); full != nil {
		ex.waiting[0].full = full
		x.mu.Unlock()
		return
	}
	ex.safe = err == nil
	if err != nil && x.open[id] == ex {
		x.drop(id)
	}
	waiting := ex.waiting
	ex.waiting = nil
	x.mu.Unlock()
	for _, p := range waiting {
		p.Finish(err)
	}
}

// Over tells whether p would be the one after limit exchanges of its connection
// (MQTT 5, 3.2.2.3.3). Those of an earlier connection, which a client may have
// forgotten, do not count, nor does a repetition.
func (x *Exchanges) Over(p *Pending, limit int) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return p.line.exchanges >= limit && x.open[p.id] == nil
}

// drop takes the exchange of id out.
func (x *Exchanges) drop(id uint16) {
	if ex := x.open[id]; ex != nil && ex.line != nil {
		ex.line.exchanges--
	}
	delete(x.open, id)
}

// Release ends the exchange of id and tells whether it is on disk; not ok:
// there is none.
func (x *Exchanges) Release(id uint16) (kept, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	ex := x.open[id]
	x.drop(id)
	return ex != nil && ex.kept, ex != nil
}

// Keep marks the exchange of id as being on disk.
func (x *Exchanges) Keep(id uint16) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if ex := x.open[id]; ex != nil {
		ex.kept = true
	}
}

// Restore opens an exchange that was on disk.
func (x *Exchanges) Restore(id uint16) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.open == nil {
		x.open = make(map[uint16]*Exchange)
	}
	x.open[id] = &Exchange{safe: true, kept: true}
}
