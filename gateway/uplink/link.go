package uplink

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/ids"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/topic"
	"github.com/tidehold/tidehold/gateway/uplink/profile"
)

// spreadWithin: a host that booted less long ago is part of a fleet that comes
// back together (upstream.md 1.2).
const spreadWithin = 2 * time.Minute

// clockStep is how far the wall clock must jump to be worth another attempt.
const clockStep = 60 * time.Second

var errCut = errors.New("cut by hand")

// Link is one uplink. All methods may be called from any goroutine.
type Link struct {
	cfg     Config
	profile profile.Profile
	clk     clock.Clock
	src     *ids.Source
	figures *Figures
	log     *slog.Logger
	wake    chan struct{} // a nudge for the waiting Run
	added   chan struct{} // a nudge for the epoch: there are additions
	inbound chan delivery // set while Run runs

	order sync.Mutex // one change of state at a time, told in order

	mu        sync.Mutex
	machine   machine
	running   bool
	epoch     *epoch                  // takes messages; nil while offline
	kill      context.CancelCauseFunc // ends the attempt or epoch at once
	complaint error                   // what is wrong although it is online
	throttled time.Duration           // monotonic start of the state
	subs      []subscription
	additions []addition // to subs, for the connection that lives
	onOnline  []func(sessionPresent bool, epoch uint64)
	onOffline []func(error)
	onState   []func(Status)

	// The status message; only Run's goroutine touches these.
	statusEpoch uint64
	session     string
}

// Profile is the profile in force.
func (l *Link) Profile() profile.Profile { return l.profile }

// Subscribe makes take receive what comes down under filter, at QoS 0 or 1.
// Call it before Run, later use Extend; filters go out on every connect.
// take runs on one goroutine for the whole link and should not block: while it
// does, nothing else comes down. ack may be called once from anywhere, later
// too, and never blocks; the upstream gets its PUBACK after it, in the order of
// arrival, so a message never acknowledged holds up those behind it. A message
// under several filters goes to every taker once and needs every ack. After a
// reconnect a message that was not acknowledged comes again.
func (l *Link) Subscribe(filter string, qos byte, take func(m iot.Message, ack func())) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.subs = append(l.subs, subscription{filter: filter, match: topic.Filter(bare(filter)), qos: min(qos, 1), take: take})
}

// Extend is Subscribe for a link that may run: on a connection that lives the
// filter goes out at once, and standing is called when upstream has granted it;
// else it goes out with the next connect, of which OnOnline tells. standing must
// not block.
func (l *Link) Extend(filter string, qos byte, take func(m iot.Message, ack func()), standing func()) {
	l.Subscribe(filter, qos, take)
	l.mu.Lock()
	if l.running {
		l.additions = append(l.additions, addition{l.subs[len(l.subs)-1], standing})
	}
	l.mu.Unlock()
	select {
	case l.added <- struct{}{}:
	default:
	}
}

// bare is a filter without its $share/<group>/.
func bare(filter string) string {
	rest, shared := strings.CutPrefix(filter, "$share/")
	if !shared {
		return filter
	}
	_, rest, _ = strings.Cut(rest, "/")
	return rest
}

// OnOnline calls f on every connect, after the subscriptions stand and before
// the status goes out: f stores epoch if it is new. Publish works already. f
// must not block. Register before Run.
func (l *Link) OnOnline(f func(sessionPresent bool, epoch uint64)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.onOnline = append(l.onOnline, f)
}

// OnOffline calls f after a connection that had been told by OnOnline has
// ended, and after every outstanding done. f must not block. Register before Run.
func (l *Link) OnOffline(f func(error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.onOffline = append(l.onOffline, f)
}

// OnState calls f after every change of state, in order. f must not block and
// must not call Cut, Restore or Throttle. Register before Run.
func (l *Link) OnState(f func(Status)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.onState = append(l.onState, f)
}

// Status is the state now.
func (l *Link) Status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status()
}

func (l *Link) status() Status {
	s := Status{
		Name: l.cfg.Name, Profile: l.profile.Name, State: l.machine.state, Since: l.machine.since, Error: l.machine.err,
		Node: l.nodeAt(l.machine.attempts).String(), Attempts: l.machine.attempts,
	}
	if s.State.Up() && l.complaint != nil {
		s.Error = l.complaint.Error()
	}
	return s
}

// Cut pulls the cable: the connection, or the attempt, is closed at once and
// without a DISCONNECT, so that the upstream sends the last will; the link stays
// down until Restore or restart.
func (l *Link) Cut() {
	l.step(event{kind: evCut})
	l.end(errCut)
	l.nudge()
}

// Restore ends a Cut, and a pause of the back-off: the next attempt starts at
// once. Also the answer to a link-up event of the host. Online it does nothing.
func (l *Link) Restore() {
	l.step(event{kind: evRestore})
	l.nudge()
}

// Reconnect closes a connection that seems stuck (no acknowledgement for long,
// telemetry.md 9.4) and connects again after the usual pause.
func (l *Link) Reconnect(why error) { l.end(why) }

// Throttle records that the upstream asked for less, or no longer does. It is
// shown and counted; the pace is the caller's.
func (l *Link) Throttle(on bool) {
	if on {
		l.step(event{kind: evThrottled})
		return
	}
	l.step(event{kind: evEased})
}

// node is where the attempt that is under way, or was last, connects to.
func (l *Link) node() Endpoint {
	l.mu.Lock()
	attempts := l.machine.attempts
	l.mu.Unlock()
	return l.nodeAt(attempts)
}

// nodeAt is where an attempt connects to, by its number.
func (l *Link) nodeAt(attempt int) Endpoint {
	first := fnv.New32a()
	first.Write([]byte(l.cfg.ClientID))
	if at := (uint(first.Sum32()) + uint(attempt)) % uint(1+len(l.cfg.Others)); at > 0 {
		return l.cfg.Others[at-1]
	}
	return l.cfg.Endpoint
}

// end stops the attempt or epoch that is under way.
func (l *Link) end(why error) {
	l.mu.Lock()
	kill := l.kill
	l.mu.Unlock()
	if kill != nil {
		kill(why)
	}
}

func (l *Link) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Publish sends m upstream; done gets nil for its PUBACK (QoS 0: when it is
// written) inside a living epoch, otherwise ErrOffline, ErrBusy, ErrRefused or
// ErrEpochEnded. done is called exactly once, perhaps before Publish returns.
func (l *Link) Publish(m Outgoing, done func(error)) {
	if err := l.profile.Check(m.Topic, len(m.Payload)); err != nil {
		l.refuse(done, err)
		return
	}
	l.mu.Lock()
	e := l.epoch
	l.mu.Unlock()
	if e == nil {
		l.refuse(done, ErrOffline)
		return
	}
	if err := e.out.add(&parcel{m: m, done: done}); err != nil {
		l.refuse(done, err)
	}
}

func (l *Link) refuse(done func(error), err error) {
	l.figures.count(l.cfg.Name, err, 0)
	done(err)
}

// step runs the machine and tells what changed.
func (l *Link) step(e event) {
	l.order.Lock()
	defer l.order.Unlock()
	e.up, e.wall, e.draw = l.clk.Up(), l.clk.Now(), l.src.Jitter
	l.mu.Lock()
	from := l.machine
	to := from.on(e)
	l.machine = to
	l.accountThrottle(from.state, to.state, e.up)
	complaint, status, watchers := l.complaint, l.status(), l.onState
	l.mu.Unlock()
	if from.state == to.state {
		return
	}
	l.figures.moved(l.cfg.Name, from, to, e.up)
	l.figures.judge(l.cfg.Name, to, complaint, e.wall)
	l.tell(from, to)
	for _, f := range watchers {
		f(status)
	}
}

func (l *Link) accountThrottle(from, to State, up time.Duration) {
	if to == Throttled && from != to {
		l.throttled = up
	}
	if from == Throttled && to != from {
		l.figures.throttled.Add((up - l.throttled).Seconds(), l.cfg.Name)
	}
}

// tell logs what people want to know: up, down and held; attempts only for
// debugging, and the second failure in a row no more.
func (l *Link) tell(from, to machine) {
	level := slog.LevelDebug
	switch {
	case to.state == Online && from.state != Throttled, to.state == Severed, to.state == Disabled:
		level = slog.LevelInfo
	case to.state == WaitingClock, to.state == Waiting && (to.failures == 1 || to.denials == denialsMax):
		level = slog.LevelWarn
	}
	l.log.Log(context.Background(), level, "uplink state", "state", string(to.state), "from", string(from.state), "err", to.err)
}

// Run keeps the link up until ctx ends, then says goodbye and returns nil. It
// fails only when it runs already.
func (l *Link) Run(ctx context.Context) error {
	if err := l.enter(); err != nil {
		return err
	}
	var running sync.WaitGroup
	inner, stop := context.WithCancel(context.WithoutCancel(ctx))
	running.Go(func() { l.deliver(inner) })
	defer l.leave()
	defer running.Wait()
	defer stop()
	if l.cfg.Spread > 0 && l.clk.Up() < spreadWithin {
		l.step(event{kind: evHold, hold: l.cfg.Spread})
	}
	for l.awaitTurn(ctx) {
		loss := l.live(ctx, &running)
		if ctx.Err() != nil {
			return nil
		}
		l.step(loss)
	}
	return nil
}

func (l *Link) enter() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.running {
		return fmt.Errorf("uplink %q: Run is running already", l.cfg.Name)
	}
	l.running = true
	l.inbound = make(chan delivery, deliveryQueueMax)
	return nil
}

func (l *Link) leave() {
	l.step(event{kind: evStop})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running = false
}

// awaitTurn waits until the next attempt may start; false when ctx ended.
func (l *Link) awaitTurn(ctx context.Context) bool {
	offset := l.offset()
	for ctx.Err() == nil {
		wait, forClock := l.turn()
		if wait <= 0 {
			return true
		}
		if forClock {
			if l.clk.Synced() || (l.offset()-offset).Abs() > clockStep {
				return true
			}
			wait = min(wait, time.Second)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-l.wake:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	return false
}

// offset is the wall clock against the steady one: it moves only when the wall
// clock steps.
func (l *Link) offset() time.Duration {
	return time.Duration(l.clk.Now().UnixNano()) - l.clk.Up()
}

// turn is how long to wait still; forClock when a step of the clock ends it.
func (l *Link) turn() (wait time.Duration, forClock bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch l.machine.state {
	case Severed:
		return time.Hour, false
	case Waiting, WaitingClock:
		return l.machine.retryAt - l.clk.Up(), l.machine.state == WaitingClock
	}
	return 0, false
}
