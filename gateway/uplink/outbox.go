package uplink

import (
	"fmt"
	"slices"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// parcel is a message under way; done is called once, by whoever takes it out
// of the outbox.
type parcel struct {
	m    Outgoing
	done func(error)
	seq  uint64        // order of acceptance
	sent time.Duration // monotonic; 0 = not yet
}

// outbox holds the messages of one epoch from Publish to PUBACK, in order of
// acceptance but for those that go ahead, at most max. Adding never waits.
type outbox struct {
	max   int
	level func(n int) // told how full it is
	ready chan struct{}

	mu     sync.Mutex
	closed bool
	seq    uint64
	queue  []*parcel            // accepted, not yet handed to paho
	open   map[*parcel]struct{} // accepted, not yet done
}

func newOutbox(max int, level func(n int)) *outbox {
	return &outbox{max: min(max, 60000), level: level, ready: make(chan struct{}, 1), open: make(map[*parcel]struct{})}
}

// add takes p at the end of the queue, or of what goes ahead in it.
func (o *outbox) add(p *parcel) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed && len(o.open) >= o.max {
		return fmt.Errorf("publish to %q: %d messages are under way: %w", p.m.Topic, o.max, ErrBusy)
	}
	place := len(o.queue)
	if p.m.Ahead {
		if behind := slices.IndexFunc(o.queue, func(q *parcel) bool { return !q.m.Ahead }); behind >= 0 {
			place = behind
		}
	}
	return o.put(p, place)
}

// first takes p before all that is not sent and will come, whatever the limit.
func (o *outbox) first(p *parcel) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	p.m.Ahead = true
	return o.put(p, 0)
}

func (o *outbox) put(p *parcel, place int) error {
	if o.closed {
		return ErrOffline
	}
	o.seq++
	p.seq = o.seq
	o.queue = slices.Insert(o.queue, place, p)
	o.open[p] = struct{}{}
	o.level(len(o.open))
	select {
	case o.ready <- struct{}{}:
	default:
	}
	return nil
}

// next gives the parcel to send now, nil when there is none.
func (o *outbox) next(now time.Duration) *parcel {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) == 0 {
		o.queue = nil // let the grown array go
		return nil
	}
	p := o.queue[0]
	o.queue[0] = nil
	o.queue = o.queue[1:]
	p.sent = max(now, 1)
	return p
}

// take removes p; false when somebody else did.
func (o *outbox) take(p *parcel) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, mine := o.open[p]
	delete(o.open, p)
	o.level(len(o.open))
	return mine
}

// close refuses what comes and gives what is open, oldest first.
func (o *outbox) close() []*parcel {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	rest := make([]*parcel, 0, len(o.open))
	for p := range o.open {
		rest = append(rest, p)
	}
	slices.SortFunc(rest, func(a, b *parcel) int { return int(a.seq) - int(b.seq) })
	clear(o.open)
	o.queue = nil
	o.level(0)
	return rest
}

// oldest is the topic of the oldest message that was sent and is still open,
// and when the newest was sent.
func (o *outbox) oldest() (name string, sent time.Duration, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var first *parcel
	for p := range o.open {
		if p.sent == 0 {
			continue
		}
		sent = max(sent, p.sent)
		if first == nil || p.seq < first.seq {
			first = p
		}
	}
	if first == nil {
		return "", 0, false
	}
	return first.m.Topic, sent, true
}

// send hands messages to paho, one after the other, while the epoch lives.
func (e *epoch) send() {
	for !e.wire.ended() {
		p := e.out.next(e.link.clk.Up())
		if p == nil {
			select {
			case <-e.out.ready:
			case <-e.wire.dead:
			}
			continue
		}
		token := e.client.Publish(p.m.Topic, min(p.m.QoS, 1), p.m.Retain, p.m.Payload)
		e.running.Go(func() { e.watch(p, token) })
	}
}

// watch settles p when its token is done and the epoch still lives. A token
// with an error ends the epoch: the message may sit half-sent in paho.
func (e *epoch) watch(p *parcel, token mqtt.Token) {
	select {
	case <-token.Done():
	case <-e.wire.dead:
		return // close settles it
	}
	if err := token.Error(); err != nil {
		e.wire.fail(fmt.Errorf("publish to %q: %w", p.m.Topic, err))
		return
	}
	if e.wire.ended() || !e.out.take(p) {
		return
	}
	e.link.figures.count(e.link.cfg.Name, nil, e.link.clk.Up()-p.sent)
	p.done(nil)
}
