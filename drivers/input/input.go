// Package input watches GPIO lines: buttons, contacts, pulse counters and
// rotary encoders.
//
// Levels are believed by the time of their edges, so a late goroutine loses
// nothing; edges that the line dropped show as a gap and mark the count
// approximate. Counts are 64-bit and never decrease while the process lives;
// the total of a `counter` is saved every `persist` and at the end, so that a
// crash costs at most that much. A line that cannot be had is missing, asked
// for again and again, and never fatal.
//
// One goroutine serves one input. A Sink is called by several goroutines at
// once, in order for one input; it must not block. Run ends cleanly within one
// wait of its lines.
package input

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/sampler"
	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/metrics"
)

// Sink takes what inputs tell.
type Sink interface {
	Input(part string, e drivers.InputEvent)
	Health(part string, h drivers.Health)
}

const (
	// openRetry is the wait before a line that could not be had is asked again.
	openRetry = 5 * time.Second
	// rateEvery is how often a counter tells total and rate while it runs.
	rateEvery      = time.Second
	idleDefault    = 10 * time.Second
	persistDefault = time.Minute
	detentDefault  = 4
)

// Inputs watches all inputs. Build it with New.
type Inputs struct {
	parts  []*part
	lines  drivers.Lines
	memory drivers.Memory
	sink   Sink
	clk    clock.Clock
	reg    *metrics.Registry
	log    *slog.Logger
	edges  *metrics.Counter
	lost   *metrics.Counter
}

type part struct {
	cfg     drivers.InputConfig
	health  drivers.Health
	factor  float64
	persist time.Duration
	idle    time.Duration
}

// Check says what is wrong with an entry of `inputs`.
func Check(c drivers.InputConfig) []drivers.Problem {
	var problems []drivers.Problem
	add := func(path, format string, args ...any) {
		problems = append(problems, drivers.Problem{Path: path, Message: fmt.Sprintf(format, args...)})
	}
	word := func(path, value string, allowed ...string) {
		for _, a := range allowed {
			if value == a {
				return
			}
		}
		add(path, "%q is not one of %v", value, allowed[1:])
	}
	word("pull", string(c.Pull), "", "up", "down", "none")
	word("active", c.Active, "", "high", "low")
	word("edge", c.Edge, "", "rising", "falling", "both")
	if (c.Pin == nil) == (c.Encoder == nil) {
		add("pin", "want exactly one of pin and encoder")
	}
	if c.Debounce < 0 || c.Debounce > time.Minute {
		add("debounce", "want 0 to 1m")
	}
	if n := c.Counter; n != nil {
		if n.PerUnit <= 0 {
			add("counter.per_unit", "want more than 0 pulses per unit")
		}
		if n.Rate != "" {
			if _, err := rateFactor(n.Unit, n.Rate); err != nil {
				add("counter.rate", "%v", err)
			}
		}
	}
	if e := c.Encoder; e != nil && e.Min != nil && e.Max != nil && *e.Min >= *e.Max {
		add("encoder.min", "min is not below max")
	}
	return problems
}

// New checks the inputs. It touches no hardware. memory may be nil: totals
// then begin at 0.
func New(inputs []drivers.InputConfig, lines drivers.Lines, memory drivers.Memory, sink Sink, clk clock.Clock, m *metrics.Registry, log *slog.Logger) (*Inputs, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	in := &Inputs{lines: lines, memory: memory, sink: sink, clk: clk, reg: m, log: log,
		edges: m.Counter("driver_input_edges_total", "Edges of inputs that counted.", "part"),
		lost:  m.Counter("driver_input_edges_lost_total", "Edges that a line dropped because nobody read them in time.", "part"),
	}
	for _, c := range inputs {
		if problems := Check(c); len(problems) > 0 {
			return nil, fmt.Errorf("input %s: %s", c.Name, problems[0])
		}
		in.parts = append(in.parts, newPart(c))
	}
	return in, nil
}

func newPart(c drivers.InputConfig) *part {
	p := &part{cfg: c, idle: idleDefault, persist: persistDefault, factor: 0}
	if n := c.Counter; n != nil {
		if n.Rate != "" {
			p.factor, _ = rateFactor(n.Unit, n.Rate) // checked
		}
		if n.Idle > 0 {
			p.idle = n.Idle
		}
		if n.Persist > 0 {
			p.persist = n.Persist
		}
	}
	return p
}

// Run watches until ctx ends.
func (in *Inputs) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, p := range in.parts {
		wg.Go(func() { in.watch(ctx, p) })
	}
	wg.Wait()
	return nil
}

// watch serves one input and takes its line up again after a failure.
func (in *Inputs) watch(ctx context.Context, p *part) {
	for ctx.Err() == nil {
		err := in.serve(ctx, p)
		if ctx.Err() != nil {
			return
		}
		state := drivers.Fault
		if drivers.CauseOf(err) == drivers.CauseUnplugged {
			state = drivers.Missing
		}
		in.tell(p, state, err)
		t := time.NewTimer(openRetry)
		select {
		case <-ctx.Done():
			t.Stop()
		case <-t.C:
		}
	}
}

func (in *Inputs) serve(ctx context.Context, p *part) error {
	if p.cfg.Encoder != nil {
		return in.serveEncoder(ctx, p)
	}
	line, err := in.lines.Input(*p.cfg.Pin, p.cfg.Pull, p.edges())
	if err != nil {
		return err
	}
	defer line.Close()
	w, err := in.begin(p, line)
	if err != nil {
		return err
	}
	defer w.save()
	return w.loop(ctx)
}

// tell reports a change of health.
func (in *Inputs) tell(p *part, state drivers.State, err error) {
	h := drivers.Health{State: state, Since: in.clk.Now()}
	if pin := p.cfg.Pin; pin != nil {
		h.Simulated = in.lines.Simulated(*pin)
	} else {
		h.Simulated = in.lines.Simulated(p.cfg.Encoder.A)
	}
	if err != nil {
		h.Cause, h.Error = drivers.CauseOf(err), err.Error()
	}
	if h.State == p.health.State && h.Cause == p.health.Cause {
		return
	}
	p.health = h
	sampler.Report(in.reg, in.log, p.cfg.Name, h)
	in.sink.Health(p.cfg.Name, h)
}

// watcher is one input with its line open.
type watcher struct {
	in    *Inputs
	p     *part
	line  drivers.InputLine
	deb   debouncer
	count uint64
	meter *meter

	seq         uint64
	approximate bool
	changed     time.Time // the last change, for Held
	unsaved     bool
	savedAt     time.Time
	toldAt      time.Time // counters tell at most once a second
	untold      bool
	lastRate    float64
}

// begin reads the state at the start and tells it.
func (in *Inputs) begin(p *part, line drivers.InputLine) (*watcher, error) {
	high, err := line.Read()
	if err != nil {
		return nil, err
	}
	stable := p.cfg.Debounce
	if p.cfg.Counter != nil {
		stable = max(stable, p.cfg.Counter.MinPulse)
	}
	now := time.Now()
	if p.cfg.Counter == nil && debounced(line, stable) {
		stable = 0
	}
	w := &watcher{in: in, p: p, line: line, savedAt: now, toldAt: now, changed: now,
		deb: debouncer{stable: stable, on: p.on(high)}}
	if c := p.cfg.Counter; c != nil {
		w.meter = &meter{perUnit: c.PerUnit, factor: p.factor, idle: p.idle}
		if err := w.load(); err != nil {
			return nil, err
		}
		w.count = w.meter.pulses
	}
	in.tell(p, drivers.OK, nil)
	w.emit(now, 0, true)
	return w, nil
}

// debounced lets the kernel do it when it can. A counter does it itself: a
// timer of a busy kernel that is late loses a pulse, the times of edges do not.
func debounced(line drivers.InputLine, stable time.Duration) bool {
	d, able := line.(drivers.Debouncer)
	return able && stable > 0 && d.Debounce(stable) == nil
}

func (p *part) on(high bool) bool { return high != (p.cfg.Active == "low") }

// counts reports whether a change to on is an edge that counts.
func (p *part) counts(on bool) bool {
	high := on != (p.cfg.Active == "low")
	switch p.cfg.Edge {
	case "both":
		return true
	case "rising":
		return high
	case "falling":
		return !high
	}
	return on
}

// edges are those the input needs: a counter that believes every edge needs
// only the kind that counts.
func (p *part) edges() drivers.Edges {
	c := p.cfg.Counter
	switch {
	case c == nil || p.cfg.Debounce > 0 || c.MinPulse > 0 || p.cfg.Edge == "both":
		return drivers.BothEdges
	case p.counts(p.on(true)):
		return drivers.RisingEdges
	}
	return drivers.FallingEdges
}

func (w *watcher) loop(ctx context.Context) error {
	for {
		edge, err := w.wait(ctx)
		switch {
		case err == nil:
			w.gap(edge.Seq)
			w.apply(w.changes(edge))
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, context.DeadlineExceeded):
			if _, err := w.line.Read(); err != nil { // gone lines fall silent
				return err
			}
		default:
			return err
		}
		w.tick(time.Now())
	}
}

// changes are what an edge means: where only one kind is told, each is one.
func (w *watcher) changes(e drivers.LineEdge) []change {
	if w.p.edges() != drivers.BothEdges {
		return []change{{on: w.p.on(e.High), at: e.Time}}
	}
	return w.deb.edge(w.p.on(e.High), e.Time)
}

// wait waits for an edge, at most until something is due.
func (w *watcher) wait(ctx context.Context) (drivers.LineEdge, error) {
	due := time.Now().Add(openRetry)
	if at, pending := w.deb.deadline(); pending && at.Before(due) {
		due = at
	}
	if w.untold || w.lastRate > 0 {
		due = earlier(due, w.toldAt.Add(rateEvery))
	}
	if w.unsaved {
		due = earlier(due, w.savedAt.Add(w.p.persist))
	}
	limited, cancel := context.WithDeadline(ctx, due)
	defer cancel()
	return w.line.Wait(limited)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// gap notices edges that the line dropped.
func (w *watcher) gap(seq uint64) {
	if lost := seq - w.seq - 1; w.seq > 0 && seq > w.seq && lost > 0 {
		w.approximate = true
		w.in.lost.Add(float64(lost), w.p.cfg.Name)
		w.in.log.Warn("input lost edges", "part", w.p.cfg.Name, "seq", seq)
	}
	w.seq = seq
}

// tick does what became due by time alone.
func (w *watcher) tick(now time.Time) {
	w.apply(w.deb.settle(now))
	if w.meter != nil && now.Sub(w.toldAt) >= rateEvery && (w.untold || w.meter.rate(now) != w.lastRate) {
		w.toldAt, w.untold = now, false
		w.emit(now, 0, false)
	}
	if w.unsaved && now.Sub(w.savedAt) >= w.p.persist {
		w.save()
	}
}

func (w *watcher) apply(changes []change) {
	for _, c := range changes {
		held := c.at.Sub(w.changed)
		w.changed = c.at
		if w.p.counts(c.on) {
			w.count++
			w.in.edges.Inc(w.p.cfg.Name)
			if w.meter != nil {
				w.meter.pulse(c.at)
				w.unsaved, w.untold = true, true
			}
		}
		if w.meter == nil {
			w.emit(c.at, held, false)
		}
	}
}

func (w *watcher) emit(at time.Time, held time.Duration, first bool) {
	e := drivers.InputEvent{On: w.deb.on, Count: w.count, Held: held, At: at, First: first, Approximate: w.approximate}
	if w.meter != nil {
		w.lastRate = w.meter.rate(time.Now())
		e.Meter = &drivers.Meter{Total: w.meter.total(), Unit: w.p.cfg.Counter.Unit, Rate: w.lastRate, HasRate: w.p.factor > 0}
	}
	w.in.sink.Input(w.p.cfg.Name, e)
}

// saved is what memory keeps of a counter.
type saved struct {
	Pulses uint64 `json:"pulses"`
}

func (w *watcher) load() error {
	if w.in.memory == nil {
		return nil
	}
	state, found, err := w.in.memory.Load(w.p.cfg.Name)
	if err != nil || !found {
		return err
	}
	var s saved
	if err := json.Unmarshal(state, &s); err != nil {
		return fmt.Errorf("input %s: saved total: %w", w.p.cfg.Name, err)
	}
	w.meter.pulses = s.Pulses
	return nil
}

// save stores the total; a failure is tried again at the next turn.
func (w *watcher) save() {
	if !w.unsaved || w.in.memory == nil {
		return
	}
	w.savedAt = time.Now()
	state, err := json.Marshal(saved{Pulses: w.meter.pulses})
	if err == nil {
		err = w.in.memory.Save(w.p.cfg.Name, state)
	}
	if err != nil {
		w.in.log.Warn("input total not saved", "part", w.p.cfg.Name, "err", err)
		return
	}
	w.unsaved = false
}
