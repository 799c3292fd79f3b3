package uplink

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/topic"
)

const (
	// inboundMax is how many QoS 1 messages of an epoch may wait for their
	// takers' ack; at the limit the socket is not read any further.
	inboundMax = 1024
	// deliveryQueueMax is how many messages may wait for the takers' goroutine.
	deliveryQueueMax = 256
)

// internalPrefixes are topics of other engines' own business that a wide filter
// brings in (upstream.md section 3).
var internalPrefixes = []string{"$JS/", "$SYS/", "$MQTT/"}

// delivery is a message on its way to its takers.
type delivery struct {
	m     iot.Message
	takes []func(iot.Message, func())
	ack   func()
}

// deliver calls the takers, one message after the other, until ctx ends.
func (l *Link) deliver(ctx context.Context) {
	for {
		select {
		case d := <-l.inbound:
			d.hand()
		case <-ctx.Done():
			return
		}
	}
}

// hand calls every taker; the last ack counts.
func (d delivery) hand() {
	var left atomic.Int32
	left.Store(int32(len(d.takes)))
	for _, take := range d.takes {
		var once sync.Once
		take(d.m, func() {
			once.Do(func() {
				if left.Add(-1) == 0 {
					d.ack()
				}
			})
		})
	}
}

// arrive is paho's handler. It waits for room, but never longer than the epoch
// lives: paho cannot end while its handler blocks.
func (e *epoch) arrive(_ mqtt.Client, m mqtt.Message) {
	l := e.link
	l.figures.received.Inc(l.cfg.Name)
	ack := func() {}
	if m.Qos() > 0 {
		r := e.in.admit(m, e.wire.dead)
		if r == nil {
			return
		}
		ack = func() { e.in.settle(r) }
	}
	takes := e.takers(m.Topic())
	if len(takes) == 0 {
		l.figures.dropped.Inc(l.cfg.Name)
		ack()
		return
	}
	d := delivery{m: e.message(m), takes: takes, ack: ack}
	select {
	case l.inbound <- d:
	case <-e.wire.dead:
	}
}

func (e *epoch) takers(name string) []func(iot.Message, func()) {
	for _, prefix := range internalPrefixes {
		if strings.HasPrefix(name, prefix) {
			return nil
		}
	}
	var takes []func(iot.Message, func())
	e.link.mu.Lock()
	subs := e.subs // only grows
	e.link.mu.Unlock()
	for _, s := range subs {
		if topic.Match(s.match, topic.Name(name)) {
			takes = append(takes, s.take)
		}
	}
	return takes
}

func (e *epoch) message(m mqtt.Message) iot.Message {
	return iot.Message{
		Topic: m.Topic(), Payload: m.Payload(), QoS: m.Qos(), Retain: m.Retained(),
		Origin:  iot.Origin{Uplink: e.link.cfg.Name, Protocol: 4},
		Arrived: e.link.clk.Now(),
	}
}

// receipt is a QoS 1 message that upstream waits for us to acknowledge.
type receipt struct {
	m    mqtt.Message
	done bool
}

// window holds the receipts of one epoch in order of arrival: PUBACKs leave in
// that order (MQTT 3.1.1, 4.6.0-2), whatever the order of the takers' acks.
type window struct {
	room  chan struct{}     // one token per receipt
	ready chan mqtt.Message // may be acknowledged; has room for every receipt

	mu   sync.Mutex
	open []*receipt
}

func newWindow() *window {
	return &window{room: make(chan struct{}, inboundMax), ready: make(chan mqtt.Message, inboundMax)}
}

// admit waits for room; nil when the epoch died first.
func (w *window) admit(m mqtt.Message, dead <-chan struct{}) *receipt {
	select {
	case w.room <- struct{}{}:
	case <-dead:
		return nil
	}
	r := &receipt{m: m}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open = append(w.open, r)
	return r
}

// settle marks r and releases what is now done from the front. It never blocks:
// ready holds as many as room admits.
func (w *window) settle(r *receipt) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r.done = true
	for len(w.open) > 0 && w.open[0].done {
		w.ready <- w.open[0].m
		w.open[0] = nil
		w.open = w.open[1:]
	}
}

// acknowledge sends PUBACKs while the epoch lives. An ack that comes later is
// dropped: the upstream sends the message again.
func (e *epoch) acknowledge() {
	for {
		select {
		case m := <-e.in.ready:
			m.Ack()
			<-e.in.room
		case <-e.wire.dead:
			return
		}
	}
}
