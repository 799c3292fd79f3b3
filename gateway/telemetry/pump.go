package telemetry

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tidehold/tidehold/gateway/messages"
)

// Sender takes messages to the far side. Publish must not block long; done is
// called once, from any goroutine: nil means that the far side has the message,
// ErrRefused that it never will, anything else that the connection ended before
// it said so. A message that never left gets ErrOffline.
type Sender interface {
	Publish(m Outgoing, done func(error))
}

var (
	// ErrOffline is a Sender's answer when it has no connection, or cannot take
	// more now.
	ErrOffline = errors.New("uplink is offline")
	// ErrRefused is a Sender's answer to a message that it can never send: it
	// goes to the quarantine and the others flow on.
	ErrRefused = errors.New("uplink refuses the message")
	// ErrStalled ends a Drain whose far side has stopped acknowledging on a
	// living connection: reconnect once and drain again; the next Drain keeps
	// one message on its way and waits (telemetry.md 9.4).
	ErrStalled = errors.New("uplink does not acknowledge")
)

const (
	stallAfter    = 20 * time.Second
	announceEvery = 10 * time.Second
	settle        = time.Second // before the first announcement on a connection
	openBytesMax  = 8 << 20     // payload on its way to one uplink
	retryMin      = 100 * time.Millisecond
	retryMax      = 5 * time.Second
	batchReserve  = 1024        // left free in a batch (telemetry.md 3.2)
	batchBytes    = 128 << 10   // of a batch when the far side has no limit
	pausedLook    = time.Second // between looks whether a pause is over
	markBacklog   = 10          // pending at a connect, whose end a mark tells
)

// parcel is one publish on its way: a message or a batch.
type parcel struct {
	out   Outgoing
	items []*messages.Item
	sent  time.Time
	epoch int
}

// pump drains one uplink for one connection or more.
type pump struct {
	s   *Spool
	u   *uplink
	k   *messages.Cursor
	out Sender

	rate     bucket  // of messages
	byteRate bucket  // of payload
	held     *parcel // taken from the log, not sent: a batch being filled
	heldBy   *Route
	next     *parcel   // does not fit to held any more
	backAt   time.Time // when the backlog may start
	retryAt  time.Time // when a failed connection may be tried again
	told     time.Time // of the last announce

	mu        sync.Mutex // guards what done functions touch
	window    window
	retry     time.Duration
	open      map[*parcel]bool
	openBytes int
	failed    error
	counted   bool // the end of this connection was
	lastAck   time.Time
	epoch     int
	settled   chan struct{}
}

// Drain sends what is stored for the uplink while ctx lives, within its window
// and rate, and frees it as it is acknowledged. Call it for each connection and
// end ctx with it, or once for all of them: when Publish fails, Drain waits for
// what is on its way, and tries again with the oldest open message. It returns
// nil when ctx ends, ErrStalled, or an error when there is no such uplink or it
// is drained already. Acknowledgements that come after it still count.
func (s *Spool) Drain(ctx context.Context, name string, out Sender) error {
	u := s.uplink(name)
	if u == nil {
		return fmt.Errorf("telemetry drain %q: no such uplink", name)
	}
	k, err := s.log.Cursor(name)
	if err != nil {
		return fmt.Errorf("telemetry drain %q: %w", name, err)
	}
	defer k.Release()
	s.draining(+1)
	defer s.draining(-1)
	now := time.Now()
	p := &pump{s: s, u: u, k: k, out: out, window: newWindow(u.Inflight), rate: newBucket(u.Rate, now), byteRate: newBucket(u.Bytes, now),
		open: make(map[*parcel]bool), settled: make(chan struct{}, 1), retry: retryMin}
	p.begin(now)
	return p.run(ctx)
}

// begin starts a connection at a time: what is open goes first again. Losses
// are told a little later, so that a connection which fails at once adds none.
func (p *pump) begin(now time.Time) {
	p.held, p.next = nil, nil
	p.k.Begin(orders[p.s.cfg.Order])
	p.backAt = now.Add(p.s.src.Jitter(p.u.StartJitter))
	p.told = now.Add(settle - announceEvery)
	if p.k.Standing().Pending >= markBacklog {
		p.u.mu.Lock()
		p.u.markDue = true
		p.u.mu.Unlock()
	}
	p.mu.Lock()
	p.failed, p.counted, p.lastAck, p.epoch = nil, false, now, p.epoch+1
	p.mu.Unlock()
}

// run sends until ctx ends.
func (p *pump) run(ctx context.Context) error {
	for ctx.Err() == nil {
		wait, err := p.step(ctx, time.Now())
		if err != nil {
			return err
		}
		if wait > 0 {
			p.pause(ctx, wait)
		}
	}
	return nil
}

// step does the next thing and says how long nothing more can be done.
func (p *pump) step(ctx context.Context, now time.Time) (time.Duration, error) {
	if wait, err := p.recover(now); wait > 0 || err != nil {
		return wait, err
	}
	if wait := p.retryAt.Sub(now); wait > 0 {
		return wait, nil
	}
	if p.u.isPaused() {
		return pausedLook, nil
	}
	if now.Sub(p.told) >= announceEvery {
		p.told = now
		p.s.announce(ctx, p.u, p.k)
	}
	if wait := p.mayWait(now); wait > 0 {
		return wait, nil
	}
	return p.sendNext(ctx, now), nil
}

// recover looks after a failed connection: once nothing is on its way any more
// it begins again, after a pause that grows.
func (p *pump) recover(now time.Time) (wait time.Duration, err error) {
	p.mu.Lock()
	failed, open, silent := p.failed, len(p.open), now.Sub(p.lastAck)
	p.mu.Unlock()
	if failed == nil {
		if open > 0 && silent >= stallAfter && p.stall() {
			return 0, fmt.Errorf("telemetry drain %q: %w for %v", p.u.Name, ErrStalled, silent)
		}
		return 0, nil
	}
	if open > 0 {
		return stallAfter, nil // the end of the last one wakes us
	}
	p.mu.Lock()
	p.retryAt, p.retry = now.Add(p.retry), min(retryMax, 2*p.retry)
	p.mu.Unlock()
	p.begin(p.retryAt)
	return 0, nil
}

// stall notes that acknowledgements stopped; true the first time.
func (p *pump) stall() bool {
	p.u.mu.Lock()
	defer p.u.mu.Unlock()
	if p.u.trouble.stalled {
		return false
	}
	p.u.trouble.stalled = true
	p.s.fig.stalls.Inc(p.u.Name)
	return true
}

// mayWait is how long the window and the rates keep the next publish.
func (p *pump) mayWait(now time.Time) time.Duration {
	p.u.mu.Lock()
	narrow := p.u.trouble.narrow()
	p.rate.rate = p.u.pace.of(p.u.rate(), now)
	p.s.fig.rate.Set(p.rate.rate, p.u.Name)
	p.u.mu.Unlock()
	p.mu.Lock()
	size := p.window.size()
	if narrow {
		size = 1
	}
	full := len(p.open) >= size || p.openBytes >= openBytesMax
	p.mu.Unlock()
	if full {
		return p.told.Add(announceEvery).Sub(now) // an acknowledgement wakes us
	}
	return max(p.rate.wait(now), p.byteRate.wait(now))
}

// sendNext takes the next parcel and sends it; it says how long to wait when
// there is none.
func (p *pump) sendNext(ctx context.Context, now time.Time) time.Duration {
	parcel, wait := p.take(ctx, now)
	if parcel == nil {
		return wait
	}
	p.rate.take(1)
	p.byteRate.take(float64(len(parcel.out.Payload)))
	p.send(parcel, now)
	return 0
}

// take gives the next parcel to send.
func (p *pump) take(ctx context.Context, now time.Time) (*parcel, time.Duration) {
	for {
		one, route, err := p.fetch(ctx, now)
		if err != nil {
			p.s.slog.Error("spool not read", "uplink", p.u.Name, "err", err)
			return nil, retryMax
		}
		if one == nil {
			if p.held != nil && (p.heldBy.BatchEvery <= 0 || now.Sub(p.held.sent) >= p.heldBy.BatchEvery) {
				return p.release(nil), 0
			}
			return nil, p.quiet(now)
		}
		if route == nil {
			return p.release(one), 0
		}
		if p.held == nil {
			p.hold(one, route, now)
			continue
		}
		if !p.fits(one, route) {
			full := p.release(nil)
			p.hold(one, route, now)
			return full, 0
		}
		p.held.items = append(p.held.items, one.items...)
		p.held.out.Payload = append(append(p.held.out.Payload, ','), one.out.Payload...)
		if len(p.held.items) >= route.BatchMax {
			return p.release(nil), 0
		}
	}
}

// quiet is how long nothing may come by itself: the log wakes us before.
func (p *pump) quiet(now time.Time) time.Duration {
	wait := p.told.Add(announceEvery).Sub(now)
	if p.held != nil {
		wait = min(wait, p.heldBy.BatchEvery-now.Sub(p.held.sent))
	}
	if d := p.backAt.Sub(now); d > 0 {
		wait = min(wait, d)
	}
	return max(wait, time.Millisecond)
}

// hold begins a batch with its first message.
func (p *pump) hold(one *parcel, route *Route, now time.Time) {
	p.held, p.heldBy = one, route
	p.held.sent = now
	p.held.out.Payload = append(append(make([]byte, 0, 2*len(one.out.Payload)+2), '['), one.out.Payload...)
}

// fits reports whether a message may join the batch being filled.
func (p *pump) fits(one *parcel, route *Route) bool {
	limit := p.u.MaxPayload
	if limit <= 0 {
		limit = batchBytes
	}
	return route == p.heldBy && one.out.Topic == p.held.out.Topic && one.items[0].Back == p.held.items[0].Back &&
		len(p.held.out.Payload)+len(one.out.Payload)+2 <= limit-batchReserve
}

// release gives what is to be sent now: the batch being filled, and after it
// the parcel that ended it.
func (p *pump) release(after *parcel) *parcel {
	if p.held == nil {
		return after
	}
	full := p.held
	full.out.Payload = append(full.out.Payload, ']')
	p.held, p.heldBy, p.next = nil, nil, after
	return full
}

// fetch gives the next message as it goes out, with its route when it may join
// a batch. What the far side cannot take goes to the quarantine on the way.
func (p *pump) fetch(ctx context.Context, now time.Time) (*parcel, *Route, error) {
	if p.next != nil {
		one := p.next
		p.next = nil
		return one, nil, nil
	}
	for {
		it, err := p.k.Next(ctx, !now.Before(p.backAt))
		if it == nil || err != nil {
			return nil, nil, err
		}
		st, known := it.Note.(stamp)
		if !known && p.s.expired(it.Record) {
			p.k.Lose(it, messages.ReasonExpired, "")
			continue
		}
		if !known {
			st = p.s.stampOf(it.Record)
			it.Note = st
		}
		out, route := p.s.outgoing(p.u, it.Record, st, it.Back)
		if why := p.u.check(out); why != "" {
			p.quarantine(it, why)
			continue
		}
		return &parcel{out: out, items: []*messages.Item{it}}, route, nil
	}
}

func (p *pump) quarantine(it *messages.Item, why string) {
	p.s.fig.poison.Inc(p.u.Name)
	p.s.slog.Warn("message put into quarantine", "topic", it.Record.Topic, "seq", it.Record.Seq, "err", why)
	p.k.Lose(it, messages.ReasonQuarantine, why)
}

// send hands a parcel to the sender.
func (p *pump) send(c *parcel, now time.Time) {
	p.mu.Lock()
	if len(p.open) == 0 {
		p.lastAck = now // silence counts from here
	}
	c.sent, c.epoch = now, p.epoch
	p.open[c] = true
	p.openBytes += len(c.out.Payload)
	p.s.fig.inflight.Set(float64(len(p.open)), p.u.Name)
	p.mu.Unlock()
	p.out.Publish(c.out, func(err error) { p.done(c, err) })
}

// done takes in the end of a parcel's way. It may come late, from any
// goroutine, and more than once: only the first counts.
func (p *pump) done(c *parcel, err error) {
	now := time.Now()
	p.mu.Lock()
	if !p.open[c] {
		p.mu.Unlock()
		return
	}
	delete(p.open, c)
	p.openBytes -= len(c.out.Payload)
	p.s.fig.inflight.Set(float64(len(p.open)), p.u.Name)
	if err == nil {
		p.lastAck, p.retry = now, retryMin
		p.window.acked(now.Sub(c.sent))
	}
	p.mu.Unlock()
	switch {
	case err == nil:
		p.acked(c, now)
	case errors.Is(err, ErrRefused):
		p.poison(c, err.Error())
	default:
		p.lost(c, err, now)
	}
	select {
	case p.settled <- struct{}{}:
	default:
	}
}

func (p *pump) acked(c *parcel, now time.Time) {
	p.s.fig.ackSeconds.Observe(now.Sub(c.sent).Seconds(), p.u.Name)
	p.u.mu.Lock()
	p.u.trouble.acked(c.out.Seq)
	p.u.pace.acked(now.Sub(c.sent), now)
	for range c.items {
		p.u.speed.acked(now)
	}
	p.u.mu.Unlock()
	p.elide(c, now.Sub(c.sent))
	for _, it := range c.items {
		p.k.Ack(it)
	}
}

// lost takes in a publish that was not acknowledged: the first one of a
// connection tells that it ended, even if Drain ended before.
func (p *pump) lost(c *parcel, err error, now time.Time) {
	p.mu.Lock()
	first := !p.counted && c.epoch == p.epoch
	if first {
		// A message that never left says that the connection is gone, not what
		// ended it: the loss is counted by the first one that was sent.
		p.failed, p.counted = err, !errors.Is(err, ErrOffline)
		p.k.Elide(0, 0)
	}
	open, oldest, newest, upTo := len(p.open)+1, c.sent, c.sent, c.out.Seq
	for other := range p.open {
		upTo = max(upTo, other.out.Seq)
		if other.sent.Before(oldest) {
			oldest = other.sent
		}
		if other.sent.After(newest) {
			newest = other.sent
		}
	}
	p.mu.Unlock()
	if !first || errors.Is(err, ErrOffline) || now.Sub(oldest) < notSent || now.Sub(newest) > dropWithin {
		return
	}
	p.u.mu.Lock()
	p.u.pace.cut(now)
	poison := p.u.trouble.lost(open, c.out.Seq, upTo, now)
	p.u.mu.Unlock()
	if poison {
		p.poison(c, "the connection ended each time it was sent alone: "+err.Error())
	}
}

// poison puts what a parcel held into the quarantine.
func (p *pump) poison(c *parcel, why string) {
	for _, it := range c.items {
		p.quarantine(it, why)
	}
}

// pause waits for something to do.
func (p *pump) pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-p.settled:
	case <-p.k.Wake():
	case <-timer.C:
	}
}
