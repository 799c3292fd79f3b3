package load

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// sleepMin keeps an open loop from waking for every message; what is due is
	// sent together, up to that much late.
	sleepMin = 250 * time.Microsecond
	// sleepManyMin is the same for publishers that share the timers of the
	// runtime, which count in milliseconds while there is nothing else to do. Much
	// less, and fifty of them spend both cores on waking up to send one message
	// each: the latency would be that of the generator.
	sleepManyMin = time.Millisecond
	// threadsMax is how many publishers of an open loop wait on a thread each.
	threadsMax = 4
)

// publisher is one sending client: one goroutine sends, one reads the
// acknowledgements.
type publisher struct {
	run    *run
	number int
	topic  string
	conn   *Conn
	once   sync.Once

	// wake receives when acked or delivered grew.
	wake                   chan struct{}
	sent, acked, delivered atomic.Int64

	// due is when the message with an id was due, for the latency of acks.
	due []atomic.Int64

	// The rest belongs to the reader until the run has ended.
	fresh int64 // acknowledged since the last look at the socket
	acks  Histogram
	last  time.Duration
	fail  error
}

func newPublisher(r *run, number int) *publisher {
	return &publisher{run: r, number: number, topic: r.topic(number), wake: make(chan struct{}, 1)}
}

func (p *publisher) connect(ctx context.Context) (err error) {
	if p.run.QoS > 0 {
		p.due = make([]atomic.Int64, 1<<16)
	}
	p.conn, err = Dial(ctx, Options{Address: p.run.Address, TLS: p.run.TLS, ClientID: fmt.Sprintf("%s-pub%d", p.run.Prefix, p.number)})
	if err == nil {
		p.conn.OnIdle(p.settle)
	}
	return err
}

func (p *publisher) close() {
	if p.conn != nil {
		p.once.Do(p.conn.Close)
	}
}

// send publishes until the plan's end, in a closed or an open loop.
func (p *publisher) send(ctx context.Context) {
	payload := make([]byte, p.run.Payload)
	next := p.asap
	if p.run.Rate > 0 {
		next = p.onTime
	}
	for seq := int64(0); p.run.Messages == 0 || seq < p.run.Messages; seq++ {
		due, more := next(ctx, seq)
		if !more {
			break
		}
		id := uint16(seq%65535 + 1)
		if p.due != nil {
			p.due[id].Store(int64(due))
		}
		p.run.noise.fill(payload[StampBytes:], p.number, seq)
		stamp(payload, p.number, seq, due)
		p.sent.Store(seq + 1)
		p.conn.Publish(p.topic, p.run.QoS, id, payload)
	}
	p.conn.Flush()
}

// asap gives the time of the next message of a closed loop: as soon as the
// window has room.
func (p *publisher) asap(ctx context.Context, seq int64) (due time.Duration, more bool) {
	if !p.room(seq, int64(p.run.Window)) && !p.await(ctx, seq, int64(p.run.Window)) {
		return 0, false
	}
	due = time.Since(p.run.start)
	return due, due < p.run.Duration
}

// onTime gives the scheduled time of the next message of an open loop, waited
// for. Only the packet ids bound what is on its way.
func (p *publisher) onTime(ctx context.Context, seq int64) (due time.Duration, more bool) {
	each := float64(time.Second) * float64(p.run.Publishers) / p.run.Rate
	due = time.Duration((float64(seq) + float64(p.number)/float64(p.run.Publishers)) * each)
	if due >= p.run.Duration {
		return 0, false
	}
	for early := due - time.Since(p.run.start); early > 0; early = due - time.Since(p.run.start) {
		p.conn.Flush()
		p.run.pause(early)
	}
	if p.run.QoS > 0 && seq-p.acked.Load() >= idMax && !p.await(ctx, seq, idMax) {
		return 0, false
	}
	return due, ctx.Err() == nil
}

// pause waits for about d, not for less than is worth it; a signal may end it early. Timers of the runtime are
// served by epoll, which counts in milliseconds: everything that is due
// meanwhile would be late, and counted as latency of the broker. Few publishers
// sleep in the kernel instead; many send little each, and share the timers.
func (r *run) pause(d time.Duration) {
	if r.Publishers > threadsMax {
		time.Sleep(max(d, sleepManyMin))
		return
	}
	short := syscall.NsecToTimespec(int64(max(d, sleepMin)))
	_ = syscall.Nanosleep(&short, nil)
}

// room reports whether message seq fits into the window.
func (p *publisher) room(seq, window int64) bool {
	if p.run.QoS > 0 && seq-p.acked.Load() >= window {
		return false
	}
	fan := p.run.fan()
	return fan == 0 || p.run.Rate > 0 || seq*fan-p.delivered.Load() < window*fan
}

// await waits for room, having sent everything; false when nothing moves.
func (p *publisher) await(ctx context.Context, seq, window int64) bool {
	p.conn.Flush()
	stalled := time.NewTimer(stallMax)
	defer stalled.Stop()
	for !p.room(seq, window) {
		select {
		case <-p.wake:
		case <-stalled.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// progress tells the sender that there may be room.
func (p *publisher) progress() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// read takes the acknowledgements until the connection ends.
func (p *publisher) read() {
	for {
		packet, err := p.conn.Read()
		if err != nil {
			if !ended(err) {
				p.fail = fmt.Errorf("publisher %d: %w", p.number, err)
			}
			p.settle()
			return
		}
		switch packet.Type {
		case Puback, Pubcomp:
			p.fresh++
			p.last = time.Since(p.run.start)
			p.acks.Add(p.last - time.Duration(p.due[packet.ID()].Load()))
		case Pubrec:
			p.conn.Ack(Pubrel, packet.ID())
		}
	}
}

// settle makes the acknowledgements of this batch known.
func (p *publisher) settle() {
	if p.fresh == 0 {
		return
	}
	p.acked.Add(p.fresh)
	p.run.moved.Add(p.fresh)
	p.fresh = 0
	p.progress()
}
