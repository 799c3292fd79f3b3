package shadowsync

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/topic"
	"github.com/tidehold/tidehold/shadowsync/home"
	"github.com/tidehold/tidehold/shadowsync/pace"
)

// tracked is one shadow in the hands of the owner.
type tracked struct {
	key    iot.ShadowKey
	policy Policy
	state  State
	loaded bool // its record was read
	deaf   bool // the connection lacks its filter
	// held are events that came before that.
	held []Event
	// acks wait for the store.
	acks    []func()
	changed time.Time
	alarm   time.Time
	order   uint64
	at      int // place in the alarms, -1 when it has none
	inLine  bool
}

// owner has all states; it lives on the goroutine of Run.
type owner struct {
	*Syncer
	ctx     context.Context
	shadows map[iot.ShadowKey]*tracked
	alarms  alarms
	line    []*tracked // wait for their turn
	outbox  []outgoing // wait for the pace
	jobs    []job      // wait for a worker
	active  int        // shadows in a sync
	pace    pace.Pace
	offset  pace.Offset
	online  bool
	seq     uint64
	order   uint64
	moved   time.Time // when anything last happened
}

// outgoing is a request that waits for the pace.
type outgoing struct {
	key     iot.ShadowKey
	op      topic.Op
	payload []byte
}

// job is work on the local store; it is answered by one event.
type job struct {
	key iot.ShadowKey
	do  func(context.Context) Event
}

// Run syncs until ctx ends and returns nil then. It fails only when the local
// shadows cannot be listed, or when it runs already.
func (s *Syncer) Run(ctx context.Context) error {
	s.mu.Lock()
	if s.running {
		s.mu.Unlock()
		return fmt.Errorf("shadow sync with uplink %q runs already", s.cfg.Uplink)
	}
	s.running = true
	prepared := s.prepared != nil
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.running = false
		s.mu.Unlock()
	}()
	if !prepared {
		if err := s.Prepare(ctx); err != nil {
			return err
		}
	}
	o := s.newOwner(ctx)
	jobs := make(chan job)
	var running sync.WaitGroup
	defer running.Wait()
	defer close(jobs)
	for range workers {
		running.Go(func() { s.work(ctx, jobs) })
	}
	o.loop(jobs)
	return nil
}

// work does jobs until there are no more.
func (s *Syncer) work(ctx context.Context, jobs <-chan job) {
	for j := range jobs {
		s.mail.post(letter{key: j.key, event: j.do(ctx), work: true})
	}
}

func (s *Syncer) newOwner(ctx context.Context) *owner {
	o := &owner{
		Syncer: s, ctx: ctx, shadows: make(map[iot.ShadowKey]*tracked),
		pace: pace.Pace{Every: time.Duration(float64(time.Second) / s.cfg.MaxPerSecond)},
		// Numbers of tokens start anywhere: they stay new even when the disk is
		// replaced or an old backup comes back.
		seq: uint64(s.src.Jitter(1 << 52)),
	}
	s.mu.Lock()
	all := slices.Clone(s.prepared)
	s.mu.Unlock()
	slices.SortFunc(all, func(a, b start) int { return b.changed.Compare(a.changed) })
	for _, one := range all {
		if t := o.track(one.key); t != nil {
			t.changed = one.changed
		}
	}
	return o
}

// loop is the owner's life.
func (o *owner) loop(jobs chan<- job) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		o.advance()
		out, next := jobs, job{}
		if len(o.jobs) > 0 {
			next = o.jobs[0]
		} else {
			out = nil
		}
		timer.Reset(o.sleep())
		select {
		case out <- next:
			o.jobs = o.jobs[1:]
		case <-o.mail.wake:
			o.open()
		case <-timer.C:
		case <-o.ctx.Done():
			return
		}
	}
}

// stuckAfter is how long nothing may move although the link is up and something
// waits (FL-002).
const stuckAfter = time.Minute

// watch begins anew when the link is up, something waits and nothing moves:
// whatever got lost, to compare again finds it.
func (o *owner) watch(now time.Time) {
	if !o.online || !o.status.Waiting() || now.Sub(o.moved) < stuckAfter {
		return
	}
	o.log.Warn("shadow sync stood still although the uplink is up; everything is compared again", "dur", now.Sub(o.moved))
	o.figures.stuck.Inc(o.cfg.Uplink)
	o.moved = now
	for _, t := range o.shadows {
		if !t.deaf {
			o.happen(t, Online{})
		}
	}
}

// sleep is how long nothing has to be done.
func (o *owner) sleep() time.Duration {
	now, wait := o.clk.Now(), time.Hour
	if o.online && o.status.Waiting() {
		wait = min(wait, o.moved.Add(stuckAfter).Sub(now))
	}
	if len(o.alarms) > 0 {
		wait = min(wait, o.alarms[0].alarm.Sub(now))
	}
	if len(o.outbox) > 0 {
		wait = min(wait, o.pace.Slot().Sub(now))
	}
	if len(o.line) > 0 && o.active < o.turns() {
		wait = min(wait, o.pace.Open().Sub(now))
	}
	return max(wait, 0)
}

// turns is how many shadows may be in a sync at a time: with more, a request
// could wait for the pace longer than its answer may take.
func (o *owner) turns() int { return max(turnsMin, int(2*o.cfg.MaxPerSecond)) }

// open reads the mail.
func (o *owner) open() {
	o.figures.inbox.Set(o.mail.fill(), o.cfg.Uplink)
	letters, hints, lost := o.mail.fetch()
	for _, l := range letters {
		switch {
		case l.ack != nil:
			o.message(l)
		case l.key.Thing == "":
			o.everybody(l.event)
		default:
			if t := o.shadows[l.key]; t != nil {
				o.give(t, l)
			}
		}
	}
	for key, version := range hints {
		if t := o.track(key); t != nil {
			t.changed = o.clk.Now()
			o.happen(t, LocalChanged{Version: version})
		}
	}
	if lost {
		o.log.Warn("too many messages from upstream at once: all shadows are compared again")
		if o.online {
			o.everybody(Online{})
		}
	}
}

// everybody gives an event of the link to all shadows, those that changed last
// first.
func (o *owner) everybody(e Event) {
	_, o.online = e.(Online)
	if o.online {
		o.pace, o.offset = o.pace.Reset(), o.offset.Connect()
		o.moved = o.clk.Now()
	} else {
		o.outbox = nil
	}
	all := make([]*tracked, 0, len(o.shadows))
	for _, t := range o.shadows {
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b *tracked) int {
		if c := b.changed.Compare(a.changed); c != 0 {
			return c
		}
		return int(int64(a.order) - int64(b.order))
	})
	for _, t := range all {
		t.deaf = false
		o.happen(t, e)
	}
}

// message is a message of upstream; it is acknowledged when what it caused is
// on disk.
func (o *owner) message(l letter) {
	a, err := ParseAnswer(l.reserved, l.payload)
	t := o.track(l.key)
	if err != nil || t == nil {
		if err != nil {
			o.figures.ignored.Inc(o.cfg.Uplink)
		}
		l.ack()
		return
	}
	if a.Time > 0 && t.state.Awaits(a.Token) {
		o.offset = o.offset.Measure(time.Unix(a.Time, 0), o.clk.Now(), o.clk.Synced())
	}
	if o.happen(t, a) {
		t.acks = append(t.acks, l.ack)
		return
	}
	l.ack()
}

// give takes the answer of a worker.
func (o *owner) give(t *tracked, l letter) {
	switch e := l.event.(type) {
	case loadedRecord:
		o.load(t, e)
		return
	case standing:
		if t.deaf {
			o.hears(t)
		}
		return
	case Failed:
		o.figures.disk.Inc(o.cfg.Uplink)
	}
	acks := t.acks
	if l.work {
		t.acks = nil
	}
	o.happen(t, l.event)
	if l.work {
		for _, ack := range acks {
			ack()
		}
	}
}

// track gives the shadow, and begins with it when it is a new one; nil when
// there are too many.
func (o *owner) track(key iot.ShadowKey) *tracked {
	if t := o.shadows[key]; t != nil {
		return t
	}
	policy, ok := o.cfg.For(key)
	if !ok {
		return nil
	}
	if len(o.shadows) >= o.cfg.ShadowsMax {
		o.figures.refused.Inc(o.cfg.Uplink)
		return nil
	}
	policy.Gateway, policy.Upstream = o.cfg.Gateway, o.cfg.Upstream
	o.order++
	t := &tracked{key: key, policy: policy, order: o.order, at: -1}
	o.shadows[key] = t
	o.readRecord(t)
	t.deaf = o.subscribe(key) && o.online
	return t
}

// standing: the filter of the shadow stands on the connection that lives.
type standing struct{}

func (standing) event() {}

// hears begins with a shadow whose answers can be heard from now on.
func (o *owner) hears(t *tracked) {
	if t.deaf = false; o.online && t.loaded {
		o.happen(t, Online{})
	}
}

// loadedRecord is the record of a shadow as it was on disk.
type loadedRecord struct {
	record []byte
	err    error
}

func (loadedRecord) event() {}

func (o *owner) readRecord(t *tracked) {
	o.jobs = append(o.jobs, job{key: t.key, do: func(ctx context.Context) Event {
		snap, err := o.local.Snapshot(ctx, t.key, o.cfg.Uplink)
		return loadedRecord{snap.Record, err}
	}})
}

// load begins with the record, and with what happened meanwhile. A disk that
// does not answer is asked again: without its record a shadow must not be
// synced.
func (o *owner) load(t *tracked, e loadedRecord) {
	if e.err != nil {
		o.figures.disk.Inc(o.cfg.Uplink)
		o.log.Error("sync record cannot be read; trying again", "thing", t.key.Thing, "shadow", t.key.Shadow, "err", e.err)
		o.alarmAt(t, o.clk.Now().Add(pace.DelayFirst))
		return
	}
	state, err := Restore(e.record)
	if err != nil {
		o.log.Error("sync record is damaged; both sides are merged without it", "thing", t.key.Thing, "shadow", t.key.Shadow, "err", err)
		o.figures.counters[Rebased].Inc(o.cfg.Uplink)
	}
	t.state, t.loaded = state, true
	held := t.held
	t.held = nil
	if o.online && !t.deaf {
		o.happen(t, Online{})
	}
	for _, e := range held {
		o.happen(t, e)
	}
}

// conclude maps the error of a commit to its event.
func conclude(snap home.Snapshot, err error) Event {
	var refusal *iot.Error
	switch {
	case err == nil:
		return Committed{Version: snap.Version}
	case !errors.As(err, &refusal):
		return Failed{}
	}
	switch refusal.Code {
	case iot.Conflict, iot.NotFound:
		return Moved{}
	case iot.InvalidRequest, iot.TooLarge:
		return Refused{Reason: refusal.Message}
	}
	return Failed{}
}

// alarms is a heap of shadows by their next deadline.
type alarms []*tracked

func (a alarms) Len() int { return len(a) }
func (a alarms) Less(i, j int) bool {
	if !a[i].alarm.Equal(a[j].alarm) {
		return a[i].alarm.Before(a[j].alarm)
	}
	return a[i].changed.After(a[j].changed) || a[i].changed.Equal(a[j].changed) && a[i].order < a[j].order
}
func (a alarms) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].at, a[j].at = i, j
}
func (a *alarms) Push(x any) {
	t := x.(*tracked)
	t.at = len(*a)
	*a = append(*a, t)
}
func (a *alarms) Pop() any {
	last := (*a)[len(*a)-1]
	*a = (*a)[:len(*a)-1]
	last.at = -1
	return last
}

var _ heap.Interface = (*alarms)(nil)
