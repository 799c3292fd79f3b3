package rules

import (
	"context"
	"strconv"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/iotsql"
	"github.com/tidehold/tidehold/gateway/rules/agenda"
	"github.com/tidehold/tidehold/gateway/topic"
)

// tellEvery is how often counts of evaluations go to the metrics.
const tellEvery = 5 * time.Second

// evaluator is the one that looks at messages for all rules.
type evaluator struct {
	engine  *Engine
	batch   []arrival
	message *iot.Message
	// document is the payload's, shared by all rules of the message.
	document iotsql.Document
	now      instant
	told     time.Duration
	untold   bool
}

// instant is one moment on both clocks.
type instant struct {
	wall time.Time
	up   time.Duration
}

func (e *Engine) now() instant { return instant{e.deps.Clock.Now().In(e.cfg.Zone), e.deps.Clock.Up()} }

// evaluate works the intake and the agenda off until ctx ends.
func (e *Engine) evaluate(ctx context.Context) {
	v := &evaluator{engine: e}
	look := v.look
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		for v.batch = e.intake.take(v.batch[:0]); len(v.batch) > 0 && ctx.Err() == nil; v.batch = e.intake.take(v.batch[:0]) {
			for i := range v.batch {
				v.one(&v.batch[i], look)
			}
			clear(v.batch)
			v.ripe()
		}
		v.ripe()
		timer.Reset(v.rest())
		select {
		case <-ctx.Done():
		case <-e.intake.wake:
		case <-e.agenda.C():
		case <-timer.C:
		}
	}
	e.tell()
}

// one shows a message to the rules it concerns.
func (v *evaluator) one(a *arrival, look func(*runner)) {
	v.message, v.now, v.untold = &a.message, v.engine.now(), true
	v.document.Reset(a.message.Payload)
	t := v.engine.table.Load()
	if a.rule == "" {
		t.matches.Each(topic.Name(a.message.Topic), look)
	} else if r := t.byName[a.rule]; r != nil && r.program.Load().live() {
		v.look(r)
	}
	v.engine.recent.keep(&a.message)
	v.document.Reset(nil)
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
	now := v.engine.now()
	v.engine.agenda.Stepped(now.wall, now.up)
	for {
		r, due, save, ok := v.engine.agenda.Take(now.up)
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
	if v.untold && now.up-v.told >= tellEvery {
		v.told, v.untold = now.up, false
		v.engine.tell()
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

func (v *evaluator) rest() time.Duration {
	rest := v.engine.agenda.Rest(v.engine.deps.Clock.Up())
	if v.untold {
		rest = min(rest, tellEvery)
	}
	return rest
}

// tell brings the rules' counts into the metrics.
func (e *Engine) tell() {
	for _, r := range e.table.Load().sorted {
		r.tally.tell(&e.figures, r.name)
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
