// Package shared lets many devices use one bus in turns.
//
// A Bus has one owner: a goroutine that alone touches the Adapter. It lives
// while requests wait and ends when none does, so that a bus needs no Run and
// leaves nothing behind. Requests wait in a queue of waitingMax, the highest
// priority first, else in the order of arrival; a full queue refuses. The
// transactions of a lease follow each other while no more than 50 ms lie
// between them. A context ends the waiting of its caller at once; a
// transaction that has begun ends within the adapter's own time-out.
//
// A chip that only costs time is refused, with the cause it showed, until it
// has cost no more than a hundredth of its bus's time. A person's request and
// an output's write are never refused for that. A bus on which nobody answers
// is stuck: every request fails at once, and the adapter is asked to free the
// wires, ever less often. All of this is decided in drivers/bus/verdict.
//
// Ports of multiplexers are buses of the same owner; their transactions switch
// the way to them first.
package shared

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/bus/verdict"
)

// waitingMax bounds the queue of one bus. A device has one request at a time,
// and a bus has fewer than 128 of them on each port.
const waitingMax = 1024

// Adapter is the way to the wires of one bus. It is used by one goroutine at a
// time.
type Adapter interface {
	// Tx is that of drivers.Bus, with the same causes of its errors.
	Tx(ctx context.Context, addr uint16, w, r []byte) error
	// Free tries to free wires that a chip holds; it says what it did. An error
	// says why nothing could be done.
	Free(ctx context.Context) (what string, err error)
	// Epoch counts the openings of the hardware. Unlike the rest it may be
	// called at any time.
	Epoch() uint64
}

// Options are what a bus is made of beside its adapter.
type Options struct {
	Name      string
	Simulated bool
	Figures   *Figures
	Log       *slog.Logger
}

// New makes a bus that shares an adapter. It touches no hardware.
func New(a Adapter, o Options) *Bus {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Figures == nil {
		o.Figures = NewFigures(nil)
	}
	return &Bus{name: o.Name, owner: &owner{adapter: a, Options: o, start: time.Now(), wake: make(chan struct{}, 1)}}
}

// Bus is a bus, or a port of a multiplexer on it. Safe for several goroutines.
type Bus struct {
	name  string
	owner *owner
	route verdict.Route
}

var _ drivers.Shared = (*Bus)(nil)

// Name is the configured name; of a port BUS/ADDRESS/PORT.
func (b *Bus) Name() string { return b.name }

// Simulated reports that there is no hardware behind it.
func (b *Bus) Simulated() bool { return b.owner.Simulated }

// Epoch counts the openings of the hardware.
func (b *Bus) Epoch() uint64 { return b.owner.adapter.Epoch() }

// Port is the bus behind a port of the multiplexer at addr (PCA9548 and its
// kind; ports 0 to 7).
func (b *Bus) Port(addr uint16, port int) (*Bus, error) {
	if port < 0 || port > 7 {
		return nil, fmt.Errorf("bus %s: port %d of the multiplexer at 0x%02x is outside 0 to 7", b.name, port, addr)
	}
	route, ok := b.route.Behind(verdict.Hop{Addr: addr, Mask: 1 << port})
	if !ok {
		return nil, fmt.Errorf("bus %s: more than %d multiplexers one behind the other", b.name, verdict.HopsMax)
	}
	return &Bus{name: fmt.Sprintf("%s/0x%02x/%d", b.name, addr, port), owner: b.owner, route: route}, nil
}

// Tx makes one transaction, a sequence of its own.
func (b *Bus) Tx(ctx context.Context, addr uint16, w, r []byte) error {
	return b.owner.do(ctx, 0, b.route, addr, w, r)
}

// Lease begins a sequence of transactions.
func (b *Bus) Lease() drivers.Lease {
	return &lease{bus: b, id: b.owner.nextLease()}
}

type lease struct {
	bus *Bus
	id  uint64
}

// Tx makes one transaction of the sequence.
func (l *lease) Tx(ctx context.Context, addr uint16, w, r []byte) error {
	return l.bus.owner.do(ctx, l.id, l.bus.route, addr, w, r)
}

// Rest lets others go in until the next Tx.
func (l *lease) Rest() { l.bus.owner.release(l.id) }

// End gives the turn to the next.
func (l *lease) End() { l.bus.owner.release(l.id) }

// request is a transaction that waits or runs. Its buffers are its own: a
// caller that gave up has its memory back.
type request struct {
	ctx   context.Context
	lease uint64
	chip  verdict.Chip
	w, r  []byte
	done  chan error // one answer, never blocks
}

// owner is what all ports of one bus share.
type owner struct {
	Options
	adapter Adapter
	start   time.Time
	wake    chan struct{} // something changed for a waiting owner

	mu      sync.Mutex
	queue   []*request
	order   []verdict.Waiting // of queue
	hold    verdict.Hold
	running bool
	leases  uint64

	// The rest belongs to the goroutine that runs.
	epoch  uint64
	ledger verdict.Ledger
	repair verdict.Repair
	open   verdict.Route
	lost   bool // a port of open may be closed
}

func (o *owner) now() time.Duration { return time.Since(o.start) }

func (o *owner) nextLease() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.leases++
	return o.leases
}

// release ends the hold of a lease.
func (o *owner) release(lease uint64) {
	o.mu.Lock()
	if o.hold.Lease == lease {
		o.hold = verdict.Hold{}
	}
	o.mu.Unlock()
	o.nudge()
}

func (o *owner) nudge() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// do queues a transaction and waits for its answer.
func (o *owner) do(ctx context.Context, lease uint64, route verdict.Route, addr uint16, w, r []byte) error {
	q := &request{ctx: ctx, lease: lease, chip: verdict.Chip{Route: route, Addr: addr},
		w: append([]byte(nil), w...), r: make([]byte, len(r)), done: make(chan error, 1)}
	if err := o.enqueue(q); err != nil {
		return err
	}
	select {
	case err := <-q.done:
		copy(r, q.r)
		return err
	case <-ctx.Done():
		o.abandon(q)
		return fmt.Errorf("bus %s: wait for the bus: %w", o.Name, drivers.ErrTimeout)
	}
}

func (o *owner) enqueue(q *request) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) >= waitingMax {
		o.Figures.refused.Inc(o.Name, "full")
		return fmt.Errorf("bus %s: %d transactions wait already; poll less often: %w", o.Name, waitingMax, drivers.ErrTimeout)
	}
	o.queue = append(o.queue, q)
	o.order = append(o.order, verdict.Waiting{Lease: q.lease, Priority: int(drivers.PriorityOf(q.ctx))})
	o.Figures.waiting.Set(float64(len(o.queue)), o.Name)
	if !o.running {
		o.running = true
		go o.serve()
		return nil
	}
	o.nudge()
	return nil
}

// abandon takes a request out of the queue; one that runs ends by itself.
func (o *owner) abandon(q *request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range o.queue {
		if o.queue[i] == q {
			o.drop(i)
			return
		}
	}
}

func (o *owner) drop(i int) {
	o.queue = append(o.queue[:i], o.queue[i+1:]...)
	o.order = append(o.order[:i], o.order[i+1:]...)
	o.Figures.waiting.Set(float64(len(o.queue)), o.Name)
}

// serve is the owner: it works until nobody waits.
func (o *owner) serve() {
	for {
		q, wait, over := o.pick()
		switch {
		case over:
			return
		case q != nil:
			o.answer(q)
		default:
			o.await(wait)
		}
	}
}

// pick takes the next request from the queue.
func (o *owner) pick() (q *request, wait time.Duration, over bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) == 0 {
		o.running = false
		return nil, 0, true
	}
	place, wait := verdict.Next(o.order, o.hold, o.now())
	if place < 0 {
		return nil, wait, false
	}
	q = o.queue[place]
	o.drop(place)
	return q, 0, false
}

// await waits until the holder of the bus asks or goes, or its time is over.
func (o *owner) await(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-o.wake:
	case <-t.C:
	}
}

// answer does one transaction and keeps the bus for its lease.
func (o *owner) answer(q *request) {
	began := o.now()
	err := o.perform(q)
	now := o.now()
	o.Figures.busy.Add((now - began).Seconds(), o.Name)
	o.Figures.transactions.Inc(o.Name, outcomeOf(err))
	o.mu.Lock()
	o.hold = o.hold.Extend(q.lease, began, now)
	o.mu.Unlock()
	q.done <- err
}

func outcomeOf(err error) string {
	if err == nil {
		return "ok"
	}
	return string(drivers.CauseOf(err))
}

// perform asks whether the chip may be asked, asks it, and learns from it.
func (o *owner) perform(q *request) error {
	if q.ctx.Err() != nil {
		return fmt.Errorf("bus %s: %w", o.Name, drivers.ErrTimeout)
	}
	o.notice()
	if err := o.free(q.ctx); err != nil {
		return err
	}
	if pause := o.ledger.Pause(q.chip, o.now()); pause > 0 && drivers.PriorityOf(q.ctx) == drivers.Poll {
		o.Figures.refused.Inc(o.Name, "budget")
		return fmt.Errorf("bus %s: 0x%02x is asked again in %v, it only costs time: %w", o.Name, q.chip.Addr, pause.Round(time.Millisecond), drivers.ErrTimeout)
	}
	began := o.now()
	err := o.transfer(q)
	if errors.Is(q.ctx.Err(), context.Canceled) {
		return err // the caller's end, no fault of the chip
	}
	return o.learn(q.chip, err, o.now()-began)
}

// transfer switches the way and makes the transaction.
func (o *owner) transfer(q *request) error {
	if err := o.route(q); err != nil {
		return err
	}
	err := o.adapter.Tx(q.ctx, q.chip.Addr, q.w, q.r)
	o.notice()
	if err != nil && q.chip.Route != (verdict.Route{}) {
		o.lost = true // a multiplexer that lost its supply has closed its ports
	}
	return err
}

// notice forgets what was learnt when the hardware was opened anew.
func (o *owner) notice() {
	if now := o.adapter.Epoch(); now != o.epoch {
		o.epoch, o.ledger, o.lost = now, verdict.Ledger{}, true
	}
}

// route opens the way to a chip, and closes what is in the way.
func (o *owner) route(q *request) error {
	if o.lost {
		o.shut(q.ctx)
	}
	writes := verdict.Switch(o.open, q.chip.Route)
	o.open = q.chip.Route
	for _, hop := range writes {
		err := o.adapter.Tx(q.ctx, hop.Addr, []byte{hop.Mask}, nil)
		if err != nil && hop.Mask != 0 { // one that cannot be closed has nothing open
			o.lost = true
			return fmt.Errorf("bus %s: multiplexer 0x%02x: open ports 0x%02x: %w", o.Name, hop.Addr, hop.Mask, err)
		}
	}
	return nil
}

// shut closes what may be open. An error means that the multiplexer does not
// hear: whoever needs it next will be told.
func (o *owner) shut(ctx context.Context) {
	for _, hop := range verdict.Switch(o.open, verdict.Route{}) {
		_ = o.adapter.Tx(ctx, hop.Addr, []byte{hop.Mask}, nil)
	}
	o.open, o.lost = verdict.Route{}, false
}

// learn notes what the transaction showed of the chip and of the bus.
func (o *owner) learn(c verdict.Chip, err error, took time.Duration) error {
	outcome := verdict.Other
	switch cause := drivers.CauseOf(err); {
	case err == nil:
		outcome = verdict.Answer
	case cause == drivers.CauseNACK:
		outcome = verdict.NACK
	case cause == drivers.CauseTimeout:
		outcome = verdict.Silence
	}
	now := o.now()
	o.ledger.Note(c, outcome, took, now)
	switch {
	case outcome == verdict.Other:
	case outcome != verdict.Silence:
		if o.repair.Stuck {
			o.repair = verdict.Repair{}
			o.Figures.tell(o.Options, nil)
		}
	case o.repair.Stuck || o.ledger.Stuck():
		fresh := !o.repair.Stuck
		o.repair = o.repair.Broken(now)
		err = fmt.Errorf("bus %s: nobody answers any more (%v): %w", o.Name, err, drivers.ErrBusStuck)
		if fresh {
			o.Figures.tell(o.Options, err)
		}
	}
	return err
}

// free tries to free a stuck bus when it is time; an error while it is not.
func (o *owner) free(ctx context.Context) error {
	if !o.repair.Stuck || o.repair.Trial {
		return nil
	}
	now := o.now()
	if !o.repair.Due(now) {
		return fmt.Errorf("bus %s: freed again in %v: %w", o.Name, o.repair.Wait(now).Round(time.Millisecond), drivers.ErrBusStuck)
	}
	what, err := o.adapter.Free(ctx)
	o.repair = o.repair.Tried(err == nil, o.now())
	if err != nil {
		o.Figures.recoveries.Inc(o.Name, "failed")
		o.Log.Warn("bus not freed", "part", o.Name, "err", err)
		return fmt.Errorf("bus %s: %w; free it by hand: %v", o.Name, drivers.ErrBusStuck, err)
	}
	o.ledger, o.lost = verdict.Ledger{}, true
	o.Figures.recoveries.Inc(o.Name, "tried")
	o.Log.Info("bus freed, the next transaction shows whether it helped", "part", o.Name, "channel", what)
	return nil
}
