package rules

import (
	"context"
	"runtime"
	"strconv"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/iotsql"
	"github.com/tidehold/tidehold/gateway/rules/agenda"
	"github.com/tidehold/tidehold/gateway/topic"
)

const (
	// tellEvery is how often counts go to the metrics.
	tellEvery = 5 * time.Second
	// watchEvery is how often the evaluator looks whether the wall clock was
	// set, while a rule waits for a time.
	watchEvery = time.Second
	// nowFor is how many messages one reading of the clocks is good for.
	nowFor = 16
)

// evaluator is the one that looks at messages for all rules.
type evaluator struct {
	engine  *Engine
	message *iot.Message
	// document is the payload's, shared by all rules of the message.
	document iotsql.Document
	now      instant
	watched  time.Duration // when the clocks were compared
	told     time.Duration
	untold   bool
	armed    time.Duration // what the timer is set to
}

// instant is one moment on both clocks.
type instant struct {
	wall time.Time
	up   time.Duration
}

func (e *Engine) now() instant { return instant{e.deps.Clock.Now().In(e.cfg.Zone), e.deps.Clock.Up()} }

// evaluate works the intake and the agenda off until ctx ends.
func (e *Engine) evaluate(ctx context.Context) {
	v := &evaluator{engine: e, armed: agenda.Never, watched: -watchEvery}
	look := v.look
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		v.drain(ctx, look)
		v.now = e.now()
		v.ripe()
		v.arm(timer)
		select {
		case <-ctx.Done():
		case <-e.wake:
		case <-timer.C:
			v.armed = agenda.Never
		}
	}
	e.tell()
}

// drain works the intake off. It yields once before it gives up: where many
// publish, more has come by then, and nobody has to wake the evaluator.
func (v *evaluator) drain(ctx context.Context, look func(*runner)) {
	for yielded := false; ctx.Err() == nil; {
		batch := v.engine.intake.take()
		if len(batch) == 0 {
			if yielded {
				return
			}
			yielded = true
			runtime.Gosched()
			continue
		}
		yielded = false
		for i := range batch {
			if i%nowFor == 0 {
				v.now = v.engine.now()
				v.ripe()
			}
			v.one(&batch[i], look)
		}
		v.document.Reset(nil)
		v.message = nil
		v.engine.intake.done(batch)
	}
}

// arm sets the timer to the next time at which there is something to do.
func (v *evaluator) arm(timer *time.Timer) {
	next := v.engine.agenda.Next()
	if next != agenda.Never {
		next = min(next, v.watched+watchEvery)
	}
	if v.untold {
		next = min(next, v.told+tellEvery)
	}
	if next == v.armed {
		return
	}
	v.armed = next
	if next == agenda.Never {
		timer.Stop()
		return
	}
	timer.Reset(max(0, next-v.now.up))
}

// one shows a message to the rules it concerns.
func (v *evaluator) one(a *arrival, look func(*runner)) {
	v.message, v.untold = &a.message, true
	v.document.Reset(a.message.Payload)
	if a.rule == nil {
		v.engine.table.Load().matches.Each(topic.Name(a.message.Topic), look)
	} else if a.rule.program.Load().live() {
		v.look(a.rule)
	}
	v.engine.recent.Sample(&a.message, v.now.up)
}

// sift sees in passing that the rule gives nothing for a message: the evaluator
// is not bothered then. Every publisher pays for it, so it reads no clock.
func (r *runner) sift(m *iot.Message) bool {
	p, e := r.program.Load(), r.engine
	if p.memory != nil || p.slow || !p.live() || !p.statement.Rejects(m.Payload) {
		return false
	}
	r.tally.passed.Add(1)
	r.trace.Miss(m.Arrived.UnixMilli(), m)
	e.recent.Sample(m, e.since(m))
	if !e.sifted.Load() && e.sifted.CompareAndSwap(false, true) {
		rouse(e.wake) // it brings counts into the metrics
	}
	return true
}

// look has one rule evaluate the message, or leaves that to its worker.
func (v *evaluator) look(r *runner) {
	p := r.program.Load()
	if p.slow {
		if v.message.Origin.TraceID == "" { // the same for all rules of the message
			v.message.Origin.TraceID = v.engine.deps.IDs.UUID()
		}
		m := *v.message
		r.put(&job{kind: toEvaluate, program: p, message: &m})
		return
	}
	r.evaluate(p, v.message, &v.document, v.now)
}

// ripe does what is due without a message.
func (v *evaluator) ripe() {
	now, e := v.now, v.engine
	if now.up-v.watched >= watchEvery {
		v.watched = now.up
		e.agenda.Stepped(now.wall, now.up)
	}
	for {
		r, due, save, ok := e.agenda.Take(now.up)
		if !ok {
			break
		}
		if due {
			v.untold = true
			v.ring(r, now)
		}
		if save {
			r.checkpoint(now)
		}
	}
	v.untold = v.untold || e.sifted.Load()
	if v.untold && now.up-v.told >= tellEvery {
		v.told, v.untold = now.up, false
		e.sifted.Store(false)
		e.tell()
	}
}

func (v *evaluator) ring(r *runner, now instant) {
	p := r.program.Load()
	switch {
	case !p.live() || p.memory == nil:
	case p.slow:
		r.put(&job{kind: toTick, program: p})
	default:
		r.tick(p, now)
	}
}

// tell brings the rules' counts into the metrics.
func (e *Engine) tell() {
	for _, r := range e.table.Load().sorted {
		r.tally.tell(&e.figures, r.name)
		if m := r.program.Load().memory; m != nil && m.mu.TryLock() {
			r.tally.tellMemory(&e.figures, r.name, m.state.Stats())
			m.mu.Unlock()
		}
	}
}

// evaluate runs a program on a message. It never blocks unless the program is
// slow. document is the payload's, or nil.
func (r *runner) evaluate(p *program, m *iot.Message, document *iotsql.Document, now instant) {
	defer r.guard("eval")
	c := &p.context
	if p.traced && m.Origin.TraceID == "" {
		m.Origin.TraceID = r.engine.deps.IDs.UUID() // the same for all rules of the message
	}
	c.Message, c.Document = *m, document
	p.at(now)
	r.tally.evaluated.Add(1)
	p.emitted = 0
	if p.memory == nil {
		if out, err := p.statement.Eval(c); out.Fired || err != nil {
			p.emit(out, err)
		}
	} else {
		r.remember(p, now, func() { p.memory.state.Handle(c, p.emit) })
	}
	if p.emitted == 0 {
		r.tally.missed.Add(1)
		r.trace.Miss(now.wall.UnixMilli(), m)
	}
	if m.Origin.TraceID == "" {
		m.Origin.TraceID = c.Message.Origin.TraceID
	}
	if n := c.TakeTimeouts(); n > 0 {
		r.engine.figures.timeouts.Add(float64(n), r.name)
		r.complain("rule pattern took too long and was given up", "topic", m.Topic, "count", n)
	}
	c.Message, c.Document = iot.Message{}, nil
}

func (p *program) at(now instant) {
	p.context.NowMS, p.context.UpMS = now.wall.UnixMilli(), now.up.Milliseconds()
}

// remember runs f with the memory of p, and plans what comes of it.
func (r *runner) remember(p *program, now instant, f func()) {
	p.memory.mu.Lock()
	defer p.memory.mu.Unlock()
	f()
	r.plan(p, now)
	r.changed(now.up + r.engine.cfg.Checkpoint)
}

// plan puts the next time of p on the agenda. The caller holds its memory.
func (r *runner) plan(p *program, now instant) {
	next := agenda.Never
	if wait, ok := p.memory.state.Wait(); ok {
		next = now.up + time.Duration(wait)*time.Millisecond
	}
	if p.schedule != nil && !p.memory.next.IsZero() {
		next = min(next, now.up+max(0, p.memory.next.Sub(now.wall)))
	}
	r.engine.agenda.Due(r.appointment, next)
}

// tick fires what is due without a message: timers, then the schedule.
func (r *runner) tick(p *program, now instant) {
	defer r.guard("eval")
	p.context.Message, p.context.Document = iot.Message{}, nil
	p.at(now)
	due := time.Time{}
	r.remember(p, now, func() {
		p.memory.state.Tick(&p.context, p.emit)
		due = p.memory.scheduled(p, now.wall)
	})
	if due.IsZero() {
		return
	}
	m := p.scheduleMessage(due, now)
	r.evaluate(p, &m, nil, now)
}

// scheduleMessage is what a schedule gives to the rule (rules.md section 11).
func (p *program) scheduleMessage(due time.Time, now instant) iot.Message {
	return iot.Message{
		Topic: "$schedule/" + p.rule.Name, Payload: append(strconv.AppendInt([]byte(`{"time":`), due.UnixMilli(), 10), '}'), Arrived: now.wall,
		Origin: iot.Origin{Principal: iot.Principal{Kind: iot.House}, Source: "rule/" + p.rule.Name},
	}
}

// scheduled gives the time at which the schedule was due, if it is, and sets
// the next one. What fell due several times fires once.
func (m *memory) scheduled(p *program, wall time.Time) (due time.Time) {
	if p.schedule == nil {
		return due
	}
	next, ok := p.schedule.Next(wall)
	switch {
	case m.next.IsZero():
	case !m.next.After(wall):
		due, m.fired = m.next, m.next.UnixMilli()
	}
	m.next = time.Time{}
	if ok {
		m.next = next
	}
	return due
}
