package rules

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/iotsql"
	"github.com/tidehold/tidehold/gateway/rules/action"
	"github.com/tidehold/tidehold/gateway/rules/agenda"
	"github.com/tidehold/tidehold/gateway/rules/queue"
	"github.com/tidehold/tidehold/gateway/rules/trace"
)

// What a job asks for.
type jobKind uint8

const (
	toPerform  jobKind = iota // a result
	toEvaluate                // a message, for a slow rule
	toTick                    // the timers of a slow rule are due
)

// job is one piece of a rule's work.
type job struct {
	kind    jobKind
	program *program
	message *iot.Message
	payload []byte
	// fills are the texts of the actions, then of the error action.
	fills  []action.Filled
	serial uint64 // of its entry in the trace
	stored bool   // it is in state.db, or need not be
}

func (j *job) bytes() int {
	n := len(j.payload)
	if j.message != nil {
		n += len(j.message.Payload)
	}
	return n
}

// memory is what a rule remembers. Programs of the same statement share it.
type memory struct {
	mu    sync.Mutex
	state *iotsql.State
	// next is when the schedule fires, fired when it did (ms).
	next  time.Time
	fired int64
	// rested is until when no checkpoint is taken, by the steady clock.
	rested time.Duration
}

// runner is one rule while it exists, whatever its document is.
type runner struct {
	engine   *Engine
	name     string
	fromFile bool
	created  time.Time
	program  atomic.Pointer[program]
	gone     atomic.Bool // it was deleted
	tally    tally
	trace    trace.Log

	appointment *agenda.Appointment[*runner]

	mu    sync.Mutex
	busy  bool // it has a worker
	queue queue.Ring[*job]
	// results are those of windows, timers and schedules; they stay until they
	// have been performed.
	results     []*job
	resultBytes int
	saving      bool
	ticking     bool
	telling     bool          // the error action is told of dropped messages
	told        time.Duration // when it was
	warned      time.Duration
	muted       int // warnings since
}

func newRunner(e *Engine, p *program, fromFile bool, created time.Time) *runner {
	r := &runner{engine: e, name: p.rule.Name, fromFile: fromFile, created: created,
		queue: queue.New(16, func(j **job) int { return (*j).bytes() })}
	r.appointment = agenda.Of(r)
	r.attach(p)
	return r
}

// attach makes p the rule's program. It takes over the memory of the one
// before when the statement is the same.
func (r *runner) attach(p *program) {
	old := r.program.Load()
	p.emit = func(out iotsql.Output, err error) { r.emit(p, out, err) }
	p.context.Rule, p.context.Account = r.name, r.engine.cfg.Account
	p.context.NewUUID, p.context.Random = r.engine.deps.IDs.UUID, r.engine.random
	p.context.Lookups = r.engine.lookups(p)
	now := r.engine.now()
	switch {
	case !p.live() || p.memory == nil:
		r.engine.agenda.Due(r.appointment, agenda.Never)
	case old != nil && old.live() && old.shares(p):
		p.memory = old.memory
	default:
		p.memory.scheduled(p, now.wall)
	}
	r.program.Store(p)
	if p.live() && p.memory != nil {
		r.engine.agenda.Due(r.appointment, now.up) // its first tick plans the next
	}
}

// shares reports whether the next program can go on with the memory of p.
func (p *program) shares(next *program) bool {
	return p.memory != nil && p.rule.SQL == next.rule.SQL && p.rule.Version == next.rule.Version
}

// put queues j; at the limits the oldest goes.
func (r *runner) put(j *job) {
	r.mu.Lock()
	if j.kind == toTick {
		if r.ticking {
			r.mu.Unlock()
			return
		}
		r.ticking = true
	}
	dropped := r.queue.Put(j, QueueMax, QueueBytes)
	for _, d := range dropped {
		r.ticking = r.ticking && d.kind != toTick
	}
	r.mu.Unlock()
	r.wake()
	if len(dropped) > 0 {
		r.overflowed(dropped)
	}
}

// hold keeps a result until it is stored and performed.
func (r *runner) hold(j *job) {
	j.stored = !r.engine.stores() || r.gone.Load()
	var dropped []*job
	r.mu.Lock()
	r.results = append(r.results, j)
	r.resultBytes += j.bytes()
	for len(r.results) > 2 && (len(r.results) > ResultsMax || r.resultBytes > ResultsBytes) { // the first may be under way
		r.resultBytes -= r.results[1].bytes()
		dropped = append(dropped, r.results[1])
		r.results = append(r.results[:1], r.results[2:]...)
	}
	r.mu.Unlock()
	if j.stored {
		r.wake()
	} else {
		r.changed(0)
	}
	if len(dropped) > 0 {
		r.overflowed(dropped)
	}
}

// changed asks for a checkpoint at a time.
func (r *runner) changed(at time.Duration) {
	if r.engine.stores() && !r.gone.Load() {
		r.engine.agenda.Save(r.appointment, at)
	}
}

// stores reports whether the rules' memory goes to the disk.
func (e *Engine) stores() bool { return e.deps.State != nil && e.cfg.Checkpoint > 0 }

// wake starts a worker when there is work and none.
func (r *runner) wake() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.busy && r.waits() {
		r.busy = r.engine.spawn(r.work)
	}
}

func (r *runner) waits() bool { return r.queue.Len() > 0 || len(r.results) > 0 && r.results[0].stored }

// next gives the worker its next job; without one, or when ctx has ended, the
// worker is over.
func (r *runner) next(ctx context.Context) *job {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ctx.Err() == nil {
		if len(r.results) > 0 && r.results[0].stored {
			return r.results[0]
		}
		if j, ok := r.queue.Take(); ok {
			return j
		}
	}
	r.busy = false
	return nil
}

// work does the rule's jobs until there are none.
func (r *runner) work(ctx context.Context) {
	for j := r.next(ctx); j != nil; j = r.next(ctx) {
		switch j.kind {
		case toPerform:
			r.perform(ctx, j)
		case toEvaluate:
			p := r.current(j.program)
			r.evaluate(p, j.message, nil, r.engine.now())
			r.direct(ctx, p)
		case toTick:
			r.mu.Lock()
			r.ticking = false
			r.mu.Unlock()
			p := r.current(j.program)
			if p.live() && p.memory != nil {
				r.tick(p, r.engine.now())
				r.direct(ctx, p)
			}
		}
		r.settle(ctx, j)
	}
}

// current is the program as it is now, if it can take what was meant for p.
func (r *runner) current(p *program) *program {
	if now := r.program.Load(); now.live() && now.slow && !r.gone.Load() {
		return now
	}
	return p
}

// direct performs at once what a slow program has given.
func (r *runner) direct(ctx context.Context, p *program) {
	for _, j := range p.given {
		r.perform(ctx, j)
	}
	p.given = nil
}

// settle takes a kept result off the list once it has been performed. One that
// was broken off by the end of the engine stays, for the next start.
func (r *runner) settle(ctx context.Context, j *job) {
	r.mu.Lock()
	done := len(r.results) > 0 && r.results[0] == j && ctx.Err() == nil
	if done {
		r.resultBytes -= j.bytes()
		r.results[0] = nil
		r.results = r.results[1:]
		if len(r.results) == 0 {
			r.results = nil
		}
	}
	r.mu.Unlock()
	if done {
		r.changed(r.engine.deps.Clock.Up() + settleAfter)
	}
}

// settleAfter is how soon the disk forgets a result that was performed.
const settleAfter = time.Second

// guard makes a panic this message's alone.
func (r *runner) guard(stage string) {
	p := recover()
	if p == nil {
		return
	}
	r.engine.figures.errors.Inc(r.name, "panic")
	r.tally.failed(r.engine.deps.Clock.Now().UnixMilli(), fmt.Sprintf("%s: panic: %v", stage, p))
	r.engine.deps.Log.Error("rule panicked", "rule", r.name, "err", p, "stack", string(debug.Stack()))
}

// emit takes one result of the statement; p.context is that of the result.
func (r *runner) emit(p *program, out iotsql.Output, err error) {
	p.emitted++
	m := &p.context.Message
	at := p.context.NowMS
	if err != nil {
		r.engine.figures.errors.Inc(r.name, "eval")
		r.tally.failed(at, err.Error())
		r.trace.Failed(at, m, err)
		r.complain("rule evaluation failed", "topic", m.Topic, "err", err)
		return
	}
	if !out.Fired {
		return
	}
	if m.Origin.TraceID == "" {
		m.Origin.TraceID = r.engine.deps.IDs.UUID()
	}
	r.tally.matched.Add(1)
	r.tally.lastMatch.Store(at)
	r.engine.figures.matched.Inc(r.name)
	message := *m
	j := &job{program: p, message: &message, payload: out.Payload, fills: p.fill(), serial: r.trace.Match(at, m, out.Payload)}
	switch {
	case p.held():
		r.hold(j)
	case p.slow: // its worker is the one that evaluates
		p.given = append(p.given, j)
	default:
		r.put(j)
	}
}

// fill evaluates the templates of all actions while their context stands.
func (p *program) fill() []action.Filled {
	fills := make([]action.Filled, 0, len(p.actions)+1)
	for _, a := range p.actions {
		fills = append(fills, a.Fill(&p.context))
	}
	if p.errorAction != nil {
		fills = append(fills, p.errorAction.Fill(&p.context))
	}
	return fills
}

// failure is one failed action in AWS's error document (rules.md section 9).
type failure struct {
	Action   string `json:"failedAction"`
	Resource string `json:"failedResource"`
	Message  string `json:"errorMessage"`
}

// perform runs all actions of a result, then the error action if any failed.
func (r *runner) perform(ctx context.Context, j *job) {
	start := time.Now()
	p := j.program
	call := &action.Call{Rule: r.name, Message: *j.message, Payload: j.payload}
	var failures []failure
	for i, act := range p.actions {
		if resource, err := r.act(ctx, act, call, j, j.fills[i]); err != nil {
			failures = append(failures, failure{act.FailedName(), resource, err.Error()})
		}
	}
	r.engine.figures.duration.Observe(time.Since(start).Seconds(), r.name)
	if len(failures) > 0 && p.errorAction != nil {
		r.tellFailures(ctx, p, j, failures)
	}
}

// act runs one action, and notes how it went.
func (r *runner) act(ctx context.Context, act *action.Action, call *action.Call, j *job, fill action.Filled) (resource string, err error) {
	start := time.Now()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
			r.engine.deps.Log.Error("rule action panicked", "rule", r.name, "action", act.FailedName(), "err", p, "stack", string(debug.Stack()))
		}
		r.trace.Acted(j.serial, act.Kind(), resource, err, time.Since(start))
		if err == nil {
			return
		}
		r.engine.figures.actionFailed.Inc(r.name, act.FailedName())
		r.tally.failed(r.engine.deps.Clock.Now().UnixMilli(), act.FailedName()+": "+err.Error())
		r.complain("rule action failed", "action", act.FailedName(), "topic", call.Message.Topic, "err", err)
	}()
	return act.Run(ctx, r.engine.world, call, fill)
}

// tellFailures gives the error action its document.
func (r *runner) tellFailures(ctx context.Context, p *program, j *job, failures []failure) {
	fill := j.fills[len(j.fills)-1]
	call := &action.Call{Rule: r.name, Message: *j.message, Payload: errorDocument(r.name, j.message, failures)}
	// A failure of the error action is counted and logged like any other.
	_, _ = r.act(ctx, p.errorAction, call, j, fill)
}

func errorDocument(rule string, m *iot.Message, failures []failure) []byte {
	clientID := string(m.Origin.ClientID)
	if clientID == "" {
		clientID = "n/a"
	}
	document, err := json.Marshal(struct {
		Rule     string    `json:"ruleName"`
		Topic    string    `json:"topic"`
		Trace    string    `json:"cloudwatchTraceId"`
		Client   string    `json:"clientId"`
		Payload  string    `json:"base64OriginalPayload"`
		Failures []failure `json:"failures"`
	}{rule, m.Topic, m.Origin.TraceID, clientID, base64.StdEncoding.EncodeToString(m.Payload), failures})
	if err != nil {
		panic(fmt.Sprintf("rules: encode an error document: %v", err))
	}
	return document
}

// overflowed counts what a full queue gave up, and tells the error action of
// the latest, once a second.
func (r *runner) overflowed(dropped []*job) {
	r.engine.figures.dropped.Add(float64(len(dropped)), r.name)
	r.tally.dropped.Add(uint64(len(dropped)))
	j := dropped[len(dropped)-1]
	up := r.engine.deps.Clock.Up()
	r.mu.Lock()
	quiet := r.telling || r.told != 0 && up-r.told < time.Second
	if !quiet {
		r.telling, r.told = true, up
	}
	r.mu.Unlock()
	if quiet {
		return
	}
	r.complain("rule queue is full, its oldest message was dropped", "waiting", QueueMax)
	started := j.message != nil && j.program.errorAction != nil && r.engine.spawn(func(ctx context.Context) {
		r.tellDropped(ctx, j)
		r.mu.Lock()
		r.telling = false
		r.mu.Unlock()
	})
	if !started {
		r.mu.Lock()
		r.telling = false
		r.mu.Unlock()
	}
}

func (r *runner) tellDropped(ctx context.Context, j *job) {
	p := j.program
	if j.kind == toEvaluate { // nobody has filled its templates yet
		c := iotsql.Context{Message: *j.message, Rule: r.name, Account: r.engine.cfg.Account, NowMS: r.engine.deps.Clock.Now().UnixMilli(),
			NewUUID: r.engine.deps.IDs.UUID, Random: r.engine.random}
		j.fills = []action.Filled{p.errorAction.Fill(&c)}
	}
	var failures []failure
	for _, act := range p.actions {
		failures = append(failures, failure{act.FailedName(), "", fmt.Sprintf("dropped: the queue of the rule is full (%d waiting)", QueueMax)})
	}
	r.tellFailures(ctx, p, j, failures)
}

// complainEvery is how often one rule may warn in the log.
const complainEvery = 10 * time.Second

// complain logs a warning, unless the rule has just done so.
func (r *runner) complain(text string, about ...any) {
	up := r.engine.deps.Clock.Up()
	r.mu.Lock()
	if r.warned != 0 && up-r.warned < complainEvery {
		r.muted++
		r.mu.Unlock()
		return
	}
	muted := r.muted
	r.warned, r.muted = up, 0
	r.mu.Unlock()
	r.engine.deps.Log.Warn(text, append([]any{"rule", r.name, "muted", muted}, about...)...)
}
