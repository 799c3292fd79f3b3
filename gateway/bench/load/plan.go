package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// stallMax is how long a run waits when nothing moves, before it counts
	// what is missing as lost.
	stallMax = 3 * time.Second
	// idMax bounds the unacknowledged messages of one publisher.
	idMax = 60000
	// dialers is how many connections are made at once.
	dialers = 8
)

// Plan is one run: who publishes what to whom, how fast and how long.
type Plan struct {
	Address string
	TLS     *tls.Config
	// Prefix begins every topic and client id of the run.
	Prefix string
	// Publishers publish to PREFIX/NUMBER. Each of Subscribers hears all of
	// them, or with Pair only the publisher with its own number. No
	// Subscribers: only acknowledgements count.
	Publishers, Subscribers int
	Pair                    bool
	QoS                     byte
	// Payload in bytes, at least StampBytes.
	Payload int
	// Window is how many messages of one publisher may be on their way to the
	// slowest subscriber, or to their acknowledgement.
	Window int
	// Rate is messages per second of all publishers together, sent on time
	// whatever the broker does (open loop); 0 sends as fast as the window
	// allows (closed loop).
	Rate float64
	// Duration and Messages (of each publisher; 0 is no bound) end the sending.
	Duration time.Duration
	Messages int64
	// Begin is called when everybody is connected, End when everything
	// arrived; nil is nothing.
	Begin, End func()
}

// Outcome is what a run saw.
type Outcome struct {
	// Published counts what was sent, Delivered what arrived at subscribers,
	// each message once.
	Published, Delivered int64
	// Lost never arrived (or was never acknowledged when nobody subscribes),
	// Duplicated arrived again, Reordered came after a later one.
	Lost, Duplicated, Reordered int64
	// Elapsed is from the first message to the last arrival.
	Elapsed time.Duration
	// Latency is from when a message was due to its arrival, Acks to its last
	// acknowledgement.
	Latency, Acks Histogram
}

// Rate is published messages per second.
func (o *Outcome) Rate() float64 {
	if o.Elapsed <= 0 {
		return 0
	}
	return float64(o.Published-o.Lost) / o.Elapsed.Seconds()
}

// run is a Plan under way.
type run struct {
	Plan
	start       time.Time
	noise       noise
	publishers  []*publisher
	subscribers []*subscriber
	moved       atomic.Int64 // how far everything is, to see a stall
}

// Run does the plan and gives what happened. A broker that loses or repeats is
// no error; one that refuses or ends connections is.
func Run(ctx context.Context, p Plan) (*Outcome, error) {
	r := &run{Plan: p, noise: newNoise(p.Payload)}
	if err := r.check(); err != nil {
		return nil, err
	}
	defer r.close()
	if err := r.connect(ctx); err != nil {
		return nil, err
	}
	if p.Begin != nil {
		p.Begin()
	}
	err := r.flow(ctx)
	if p.End != nil {
		p.End()
	}
	if err != nil {
		return nil, err
	}
	return r.outcome(), ctx.Err()
}

func (r *run) check() error {
	if r.Publishers < 1 || r.Payload < StampBytes || r.Duration <= 0 || r.Window < 1 {
		return fmt.Errorf("load: a plan needs publishers, a window, a duration and a payload of %d bytes: %+v", StampBytes, r.Plan)
	}
	if r.Pair && r.Publishers != r.Subscribers {
		return errors.New("load: pairs need as many publishers as subscribers")
	}
	if r.Subscribers == 0 && r.QoS == 0 {
		return errors.New("load: QoS 0 without subscribers measures nothing")
	}
	return nil
}

// fan is how many subscribers each message reaches.
func (r *run) fan() int64 {
	if r.Pair {
		return 1
	}
	return int64(r.Subscribers)
}

func (r *run) topic(publisher int) string { return fmt.Sprintf("%s/%d", r.Prefix, publisher) }

func (r *run) connect(ctx context.Context) error {
	for i := range r.Publishers {
		r.publishers = append(r.publishers, newPublisher(r, i))
	}
	for i := range r.Subscribers {
		r.subscribers = append(r.subscribers, newSubscriber(r, i))
	}
	if err := Each(len(r.subscribers), func(i int) error { return r.subscribers[i].connect(ctx) }); err != nil {
		return err
	}
	return Each(len(r.publishers), func(i int) error { return r.publishers[i].connect(ctx) })
}

// Each calls f for 0..n-1, a few at once, and gives the first error.
func Each(n int, f func(int) error) error {
	var next atomic.Int64
	var group sync.WaitGroup
	failed := make(chan error, dialers)
	for range min(dialers, n) {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := f(i); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	group.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// flow runs every client until all is sent and all has arrived.
func (r *run) flow(ctx context.Context) error {
	var readers, senders sync.WaitGroup
	r.start = time.Now()
	for _, s := range r.subscribers {
		readers.Go(s.read)
	}
	for _, p := range r.publishers {
		senders.Go(func() { p.send(ctx) })
		if r.QoS > 0 {
			readers.Go(p.read)
		}
	}
	senders.Wait()
	r.drain(ctx)
	r.close()
	readers.Wait()
	return r.failure()
}

// drain waits until everything arrived, or nothing moves any more.
func (r *run) drain(ctx context.Context) {
	last, since := int64(-1), time.Now()
	for !r.done() && ctx.Err() == nil {
		if moved := r.moved.Load(); moved != last {
			last, since = moved, time.Now()
		} else if time.Since(since) > stallMax {
			return
		}
		time.Sleep(500 * time.Microsecond)
	}
}

func (r *run) done() bool {
	for _, p := range r.publishers {
		sent := p.sent.Load()
		if r.QoS > 0 && p.acked.Load() < sent || p.delivered.Load() < sent*r.fan() {
			return false
		}
	}
	return true
}

// failure is why a connection ended before the run did.
func (r *run) failure() error {
	var all []error
	for _, p := range r.publishers {
		all = append(all, p.fail)
	}
	for _, s := range r.subscribers {
		all = append(all, s.fail)
	}
	return errors.Join(all...)
}

func (r *run) close() {
	for _, p := range r.publishers {
		p.close()
	}
	for _, s := range r.subscribers {
		s.close()
	}
}

// outcome adds up what the clients saw.
func (r *run) outcome() *Outcome {
	o := &Outcome{}
	var last time.Duration
	for _, p := range r.publishers {
		sent := p.sent.Load()
		o.Published += sent
		o.Acks.Merge(&p.acks)
		if r.Subscribers == 0 {
			o.Lost += sent - p.acked.Load()
		}
		last = max(last, p.last)
	}
	for _, s := range r.subscribers {
		o.Latency.Merge(&s.latency)
		for i := range s.checks {
			if r.Pair && i != s.number {
				continue
			}
			c := &s.checks[i]
			o.Delivered += c.distinct
			o.Lost += r.publishers[i].sent.Load() - c.distinct
			o.Duplicated += c.duplicated
			o.Reordered += c.reordered
		}
		last = max(last, s.last)
	}
	o.Elapsed = last
	return o
}
