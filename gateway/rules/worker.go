package rules

import (
	"context"
	"runtime/debug"
	"sync"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/iotsql"
	"github.com/tidehold/tidehold/gateway/topic"
)

// worker owns the queue and the memory of one rule.
type worker struct {
	engine *Engine
	rule   *compiled
	wake   chan struct{}

	mu    sync.Mutex
	queue []iot.Message

	// Only run uses these.
	state   *iotsql.State
	context iotsql.Context
}

func newWorker(e *Engine, c *compiled) *worker {
	w := &worker{engine: e, rule: c, wake: make(chan struct{}, 1), state: c.statement.NewState()}
	w.context = iotsql.Context{
		Rule: c.name, Account: e.account, NewUUID: e.deps.IDs.UUID, Random: e.random,
		Lookups: iotsql.Lookups{Shadow: e.shadow},
	}
	return w
}

func (w *worker) put(m iot.Message) {
	w.mu.Lock()
	if len(w.queue) >= QueueMax {
		w.queue = w.queue[1:]
		w.engine.dropped.Inc(w.rule.name)
	}
	w.queue = append(w.queue, m)
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *worker) take() (m iot.Message, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 {
		w.queue = nil
		return m, false
	}
	m = w.queue[0]
	w.queue = w.queue[1:]
	return m, true
}

// run works the queue off and fires the timers of the statement until ctx ends.
func (w *worker) run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.wake:
		case <-timer.C:
			w.guard(func() { w.tick(ctx) })
		}
		for m, ok := w.take(); ok && ctx.Err() == nil; m, ok = w.take() {
			w.guard(func() { w.one(ctx, m) })
		}
		if wait, ok := w.state.Wait(); ok {
			timer.Reset(time.Duration(wait) * time.Millisecond)
		}
	}
}

// guard makes a panic this message's alone.
func (w *worker) guard(f func()) {
	defer func() {
		if p := recover(); p != nil {
			w.engine.failedStage.Inc(w.rule.name, "panic")
			w.engine.deps.Log.Error("rule panicked", "rule", w.rule.name, "err", p, "stack", string(debug.Stack()))
		}
	}()
	f()
}

// one evaluates the rule for one message.
func (w *worker) one(ctx context.Context, m iot.Message) {
	if m.Origin.TraceID == "" {
		m.Origin.TraceID = w.engine.deps.IDs.UUID()
	}
	// Basic Ingest: topic() is what follows the rule's name.
	if reserved, ok := topic.ParseReserved(m.Topic); ok && reserved.Kind == topic.BasicIngest {
		m.Topic = reserved.Rest
	}
	w.context.Message = m
	w.now()
	w.state.Handle(&w.context, func(out iotsql.Output, err error) { w.emit(ctx, out, err) })
}

// tick fires what fell due without a message.
func (w *worker) tick(ctx context.Context) {
	w.now()
	w.state.Tick(&w.context, func(out iotsql.Output, err error) { w.emit(ctx, out, err) })
}

func (w *worker) now() {
	w.context.NowMS = w.engine.deps.Clock.Now().UnixMilli()
	w.context.UpMS = w.engine.deps.Clock.Up().Milliseconds()
}

// emit performs the actions for one result of the statement.
func (w *worker) emit(ctx context.Context, out iotsql.Output, err error) {
	m := w.context.Message
	if err != nil {
		w.engine.failedStage.Inc(w.rule.name, "eval")
		w.engine.deps.Log.Warn("rule evaluation failed", "rule", w.rule.name, "topic", m.Topic, "err", err)
		return
	}
	if !out.Fired {
		return
	}
	w.engine.matched.Inc(w.rule.name)
	w.engine.perform(ctx, w.rule, input{w.rule.name, m, &w.context, out.Payload})
}

// input is one result of a rule on its way through the actions.
type input struct {
	rule    string
	message iot.Message
	context *iotsql.Context
	// result is the payload of the statement.
	result []byte
}
