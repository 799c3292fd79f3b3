package rules

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/iotsql"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/rules/action"
	"github.com/tidehold/tidehold/gateway/store"
)

const (
	// saveAgain is when a checkpoint is tried again that could not be made now.
	saveAgain = 20 * time.Millisecond
	// saveShare bounds the evaluator's time for checkpoints of one rule: after
	// one that took d the next waits saveShare·d.
	saveShare = 10
	// lastSave bounds the checkpoint at the end of Run.
	lastSave = 3 * time.Second
)

// savedResult is a result that waits to be performed, as it is stored.
type savedResult struct {
	Message iot.Message     `json:"message"`
	Payload []byte          `json:"payload"`
	Fills   []action.Filled `json:"fills"`
}

// checkpointed is the state of one rule on its way to the disk.
type checkpointed struct {
	runner          *runner
	memory, results []byte
	fired, at       int64
	jobs            []*job
}

// checkpoint takes the rule's memory, and the results that have left it, and
// hands them to the saver. Only the evaluator calls it, or Run at its end.
func (r *runner) checkpoint(now instant) {
	p := r.program.Load()
	if !p.live() || p.memory == nil || r.gone.Load() {
		r.stored(nil, nil)
		return
	}
	r.mu.Lock()
	busy := r.saving
	r.mu.Unlock()
	if busy || !p.memory.mu.TryLock() {
		r.changed(now.up + saveAgain)
		return
	}
	defer p.memory.mu.Unlock()
	if now.up < p.memory.rested && r.engine.running() {
		r.changed(p.memory.rested)
		return
	}
	start := time.Now()
	c, err := r.take(p, now)
	if err != nil { // a memory of ours that cannot be written is a bug; results must not wait for it
		r.engine.deps.Log.Error("the memory of a rule cannot be stored", "rule", r.name, "err", err)
		r.stored(c.jobs, err)
		return
	}
	p.memory.rested = now.up + saveShare*time.Since(start)
	r.engine.saver.put(c)
}

// take makes the state of now; the caller holds the memory.
func (r *runner) take(p *program, now instant) (c checkpointed, err error) {
	c = checkpointed{runner: r, fired: p.memory.fired, at: now.wall.UnixMilli()}
	r.mu.Lock()
	r.saving = true
	c.jobs = append(c.jobs, r.results...)
	r.mu.Unlock()
	if p.statement.Remembers() {
		if c.memory, err = p.memory.state.Save(); err != nil {
			return c, err
		}
	}
	if len(c.jobs) == 0 {
		return c, nil
	}
	all := make([]savedResult, len(c.jobs))
	for i, j := range c.jobs {
		all[i] = savedResult{*j.message, j.payload, j.fills}
	}
	c.results, err = json.Marshal(all)
	return c, err
}

// stored tells that a checkpoint is over. Its results are performed also when
// it failed: the house acts, and loses only the promise.
func (r *runner) stored(jobs []*job, err error) {
	r.mu.Lock()
	r.saving = false
	for _, j := range jobs {
		j.stored = true
	}
	if r.gone.Load() || !r.engine.stores() {
		for _, j := range r.results {
			j.stored = true
		}
	}
	r.mu.Unlock()
	r.wake()
	if err != nil {
		r.changed(r.engine.deps.Clock.Up() + r.engine.cfg.Checkpoint)
	}
}

// saver writes checkpoints, so that nobody else waits for the disk.
type saver struct {
	engine *Engine
	wake   chan struct{}

	mu      sync.Mutex
	waiting []checkpointed
}

func newSaver(e *Engine) *saver { return &saver{engine: e, wake: make(chan struct{}, 1)} }

func (s *saver) put(c checkpointed) {
	s.mu.Lock()
	s.waiting = append(s.waiting, c)
	s.mu.Unlock()
	rouse(s.wake)
}

// run writes until stop is closed, and then what is left.
func (s *saver) run(stop <-chan struct{}) {
	for {
		select {
		case <-s.wake:
			s.write(context.Background())
		case <-stop:
			ctx, cancel := context.WithTimeout(context.Background(), lastSave)
			defer cancel()
			s.write(ctx)
			return
		}
	}
}

// write stores everything that waits in one transaction.
func (s *saver) write(ctx context.Context) {
	s.mu.Lock()
	all := s.waiting
	s.waiting = nil
	s.mu.Unlock()
	if len(all) == 0 {
		return
	}
	e := s.engine
	err := e.deps.State.Write(ctx, "rules checkpoint", func(tx *store.Tx) error {
		for _, c := range all {
			if c.runner.gone.Load() {
				continue // it was deleted meanwhile, and its row with it
			}
			if _, err := tx.Exec(putState, c.runner.name, c.memory, c.results, c.fired, c.at); err != nil {
				return err
			}
		}
		return nil
	})
	state := metrics.OK
	if err != nil {
		state = metrics.Degraded
		e.figures.saveFailed.Inc()
		e.deps.Log.Error("the memory of rules was not stored", "err", err)
		err = fmt.Errorf("the memory of rules was not stored: %w", err)
	}
	e.deps.Metrics.Health.Set("rules", state, err, e.deps.Clock.Now())
	for _, c := range all {
		c.runner.stored(c.jobs, err)
	}
}

// saveAll takes a last checkpoint of every rule. Nothing else runs any more but
// the saver.
func (e *Engine) saveAll() {
	if !e.stores() {
		return
	}
	now := e.now()
	for _, r := range e.table.Load().sorted {
		p := r.program.Load()
		r.mu.Lock()
		r.saving = false // a checkpoint under way is written before this one
		r.mu.Unlock()
		if p.live() && p.memory != nil {
			r.checkpoint(now)
		}
	}
}

// restore gives a rule the memory of the last checkpoint.
func (r *runner) restore(c checkpointed) error {
	p := r.program.Load()
	if !p.live() || p.memory == nil {
		return nil
	}
	now := r.engine.now()
	if !r.engine.deps.Clock.Synced() { // the clock may stand before the checkpoint; no time passed backwards
		now.wall = time.UnixMilli(max(now.wall.UnixMilli(), c.at))
	}
	p.memory.mu.Lock()
	defer p.memory.mu.Unlock()
	if p.statement.Remembers() && c.memory != nil {
		state, err := p.statement.Restore(c.memory, now.wall.UnixMilli(), now.up.Milliseconds())
		switch {
		case errors.Is(err, iotsql.ErrOtherStatement):
			r.engine.deps.Log.Info("the statement of a rule has changed; its memory starts afresh", "rule", r.name)
		case err != nil:
			return err
		default:
			p.memory.state = state
		}
	}
	if p.schedule != nil && c.fired > 0 {
		p.memory.fired = c.fired
		p.memory.next, _ = p.schedule.Next(time.UnixMilli(c.fired).In(r.engine.cfg.Zone))
	}
	return r.restoreResults(p, c.results)
}

// restoreResults takes up the results that were stored and, as far as the disk
// knows, not performed.
func (r *runner) restoreResults(p *program, saved []byte) error {
	if len(saved) == 0 {
		return nil
	}
	var all []savedResult
	if err := json.Unmarshal(saved, &all); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range all {
		j := &job{program: p, message: &s.Message, payload: s.Payload, fills: s.Fills, stored: true}
		if !p.fits(s.Fills) {
			r.engine.deps.Log.Warn("the actions of a rule have changed; a stored result is dropped", "rule", r.name, "topic", s.Message.Topic)
			continue
		}
		r.results = append(r.results, j)
		r.resultBytes += j.bytes()
	}
	return nil
}

// fits reports whether the texts can be those of p's actions.
func (p *program) fits(fills []action.Filled) bool {
	all := p.actions
	if p.errorAction != nil {
		all = append(all[:len(all):len(all)], p.errorAction)
	}
	if len(fills) != len(all) {
		return false
	}
	for i, a := range all {
		if !a.Fits(fills[i]) {
			return false
		}
	}
	return true
}
