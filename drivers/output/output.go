// Package output sets GPIO lines: relays, valves, pumps.
//
// What to write and when is decided by Decide, a pure state machine over all
// outputs, so that min_on, min_off, max_on, interlock, guards, loss and fault
// are enforced in one place for every source of wishes. This shell only does
// it: it requests each line with its initial level in one step, writes, reads
// back, and reports what stands at the pin. A wish that may not be done now is
// refused with a reason and done when the reason ends.
//
// One goroutine serves all outputs; wishes wait in a queue of wishesMax and are
// refused when it is full. A line that cannot be had is missing, asked for
// again, and never fatal. At the end of Run every output is at its on_stop
// level and the lines are given back; that takes no longer than the writes do.
// A Sink is called from that goroutine and must not block.
package output

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/sampler"
	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
)

// wishesMax bounds the queue of wishes and observations.
const wishesMax = 1024

// Sink takes the state of outputs after each change.
type Sink interface {
	Output(part string, r drivers.OutputReport)
	Health(part string, h drivers.Health)
}

// Outputs serves all outputs. Build it with New.
type Outputs struct {
	parts  []*part
	cfg    []Settings
	index  map[string]int
	lines  drivers.Lines
	memory drivers.Memory
	sink   Sink
	clk    clock.Clock
	reg    *metrics.Registry
	log    *slog.Logger
	writes *metrics.Counter
	queue  chan message
	ready  chan struct{}
	ended  chan struct{}

	saveMu   sync.Mutex
	saves    map[string][]byte
	saveWake chan struct{}
}

// part is the shell's side of one output.
type part struct {
	cfg     drivers.OutputConfig
	guards  []guard
	line    drivers.OutputLine
	dim     *dimmer // of a PWM
	openAt  time.Duration
	report  drivers.OutputReport
	told    bool
	health  drivers.Health
	lineErr error
	judged  GuardState
	saved   level // last given to memory
	hasSave bool
}

// message is a wish, or what another part tells.
type message struct {
	wish   *drivers.Wish
	part   string
	values map[string]float64
	faulty *bool
	alive  chan struct{} // closed when the loop takes the message
}

// New checks the outputs. It touches no hardware. memory may be nil: restore
// then means off, and min_off counts from the start.
func New(outputs []drivers.OutputConfig, lines drivers.Lines, memory drivers.Memory, sink Sink, clk clock.Clock, m *metrics.Registry, log *slog.Logger) (*Outputs, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	o := &Outputs{index: map[string]int{}, lines: lines, memory: memory, sink: sink, clk: clk, reg: m, log: log,
		queue: make(chan message, wishesMax), ready: make(chan struct{}), ended: make(chan struct{}), saves: map[string][]byte{}, saveWake: make(chan struct{}, 1),
		writes: m.Counter("driver_output_writes_total", "Writes to output lines by outcome.", "part", "outcome")}
	m.GaugeFunc("driver_output_queue", "Wishes and observations that wait for the outputs.", func() float64 { return float64(len(o.queue)) })
	for _, c := range outputs {
		if problems := Check(c); len(problems) > 0 {
			return nil, fmt.Errorf("output %s: %s", c.Name, problems[0])
		}
		p := newPart(c, clk)
		for _, text := range c.Require {
			g, err := parseGuard(text)
			if err != nil {
				return nil, fmt.Errorf("output %s: %w", c.Name, err)
			}
			p.guards = append(p.guards, g)
		}
		o.index[c.Name] = len(o.parts)
		o.parts, o.cfg = append(o.parts, p), append(o.cfg, settingsOf(c))
	}
	return o, nil
}

// newPart makes the shell's side of an output; clk may be nil where no time passes.
func newPart(c drivers.OutputConfig, clk clock.Clock) *part {
	p := &part{cfg: c}
	if c.PWM != nil {
		p.dim = &dimmer{scale: scaleOf(c)}
		if clk != nil {
			p.dim.clock = clk.Up
		}
		p.cfg.Active = "" // the dimmer turns levels round
	}
	return p
}

// Ready is closed once Run has requested every line for the first time.
func (o *Outputs) Ready() <-chan struct{} { return o.ready }

// Set brings a wish. It never blocks; an unknown output is NotFound, a full
// queue Throttled.
func (o *Outputs) Set(w drivers.Wish) error {
	if _, known := o.index[w.Part]; !known {
		return iot.Errorf(iot.NotFound, "output %q does not exist", w.Part)
	}
	if !o.offer(message{wish: &w}) {
		return iot.Errorf(iot.Throttled, "output %q: %d wishes are waiting already", w.Part, wishesMax)
	}
	return nil
}

// Observe brings values of another part for guards and feedback; inputs tell
// `on` as 0 or 1. It never blocks.
func (o *Outputs) Observe(part string, values map[string]float64) {
	if o.watched(part) && !o.offer(message{part: part, values: values}) {
		o.log.Warn("output observation dropped: queue full", "part", part)
	}
}

// ObserveHealth brings the health of another part for guards.
func (o *Outputs) ObserveHealth(part string, h drivers.Health) {
	faulty := !h.Live() && h.State != drivers.Starting
	if o.watched(part) && !o.offer(message{part: part, faulty: &faulty}) {
		o.log.Warn("output observation dropped: queue full", "part", part)
	}
}

// Alive returns once the loop of the outputs has answered; an error says that it
// did not before ctx ended. Before the lines were requested and after Run there
// is no loop, and nothing to complain about. The watchdog asks (drivers.md
// section 6).
func (o *Outputs) Alive(ctx context.Context) error {
	select {
	case <-o.ready:
	default:
		return nil
	}
	m, queue := message{alive: make(chan struct{})}, o.queue
	for {
		select {
		case queue <- m:
			queue = nil // asked once
		case <-m.alive:
			return nil
		case <-o.ended:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("outputs: their loop does not answer, %d messages wait: %w", len(o.queue), ctx.Err())
		}
	}
}

func (o *Outputs) offer(m message) bool {
	select {
	case o.queue <- m:
		return true
	default:
		return false
	}
}

// watched reports whether any output looks at part.
func (o *Outputs) watched(name string) bool {
	for _, p := range o.parts {
		if c := p.cfg.Confirm; c != nil && c.Input == name {
			return true
		}
		for _, g := range p.guards {
			if g.part == name {
				return true
			}
		}
	}
	return false
}

// Run serves until ctx ends, then brings every output to its on_stop level.
func (o *Outputs) Run(ctx context.Context) error {
	defer close(o.ended)
	saveCtx, endSaves := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() { o.saveLoop(saveCtx) })
	r := &run{o: o, board: board{values: map[string]map[string]float64{}, faulty: map[string]bool{}}}
	r.begin()
	close(o.ready)
	r.loop(ctx)
	r.end()
	endSaves()
	wg.Wait()
	return nil
}

// run is the state of one Run; it belongs to its goroutine.
type run struct {
	o     *Outputs
	state State
	board board
	next  time.Duration
}

func (r *run) begin() {
	now := r.o.clk.Up()
	r.state = make(State, len(r.o.parts))
	for i := range r.state {
		r.state[i].Alive = now
		r.state[i].Since = now
	}
	for i := range r.o.parts {
		r.open(i)
	}
	r.feed(Event{Kind: Tick})
}

// open requests the line of an output with its level in one step.
func (r *run) open(i int) {
	o, p, now := r.o, r.o.parts[i], r.o.clk.Up()
	remembered, since := o.recall(p, now)
	line, err := o.request(p, r.initial(i, remembered))
	if err == nil {
		var high bool
		if high, err = line.Read(); err == nil {
			p.line, p.lineErr = line, nil
			on := p.active(high)
			if on != remembered {
				since = now
			}
			r.feed(Event{Kind: Opened, Part: i, On: on, Since: since})
			return
		}
		_ = line.Close() // the read's error is the one to tell
	}
	p.lineErr, p.openAt = err, now+lineRetry
	r.report(i)
}

// request takes the line of an output with its first level.
func (o *Outputs) request(p *part, initial drivers.Level) (drivers.OutputLine, error) {
	if p.dim == nil {
		return o.lines.Output(*p.cfg.Pin, initial)
	}
	levels, ok := o.lines.(drivers.Levels)
	if !ok {
		return nil, fmt.Errorf("pwm: no backend here: %w", drivers.ErrUnplugged)
	}
	line, err := levels.PWM(*p.cfg.PWM, p.dim.initial(initial))
	if err != nil {
		return nil, err
	}
	return p.dim, p.dim.open(line)
}

func (p *part) active(high bool) bool { return high != (p.cfg.Active == "low") }

// initial is the level of on_start; in an interlock group only the first gets on.
func (r *run) initial(i int, remembered bool) drivers.Level {
	c := r.o.cfg[i]
	if c.OnStart == modeKeep {
		return drivers.Keep
	}
	on := c.OnStart == modeOn || c.OnStart == modeRestore && remembered
	for j, other := range r.state {
		if c.Group != "" && r.o.cfg[j].Group == c.Group && other.On {
			on = false
		}
	}
	if on != (r.o.parts[i].cfg.Active == "low") {
		return drivers.High
	}
	return drivers.Low
}

func (r *run) loop(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(r.wait())
		select {
		case <-ctx.Done():
			return
		case m := <-r.o.queue:
			r.take(m)
		case <-timer.C:
			r.due()
		}
	}
}

// wait is the time until something is due.
func (r *run) wait() time.Duration {
	next := r.next
	for _, p := range r.o.parts {
		if p.line == nil {
			next = sooner(next, p.openAt)
		} else if p.dim != nil {
			next = sooner(next, p.dim.due())
		}
	}
	if next == 0 {
		return time.Hour
	}
	return max(next-r.o.clk.Up(), 0)
}

func (r *run) due() {
	for i, p := range r.o.parts {
		if p.line == nil && r.o.clk.Up() >= p.openAt {
			r.open(i)
		}
	}
	r.feed(Event{Kind: Tick})
}

func (r *run) take(m message) {
	switch {
	case m.alive != nil:
		close(m.alive)
		return
	case m.wish != nil:
		r.wish(*m.wish)
		return
	}
	if m.faulty != nil {
		r.board.faulty[m.part] = *m.faulty
	}
	for channel, v := range m.values {
		if r.board.values[m.part] == nil {
			r.board.values[m.part] = map[string]float64{}
		}
		r.board.values[m.part][channel] = v
	}
	for i, p := range r.o.parts {
		if s := r.board.judge(p.guards); len(p.guards) > 0 && s != p.judged {
			p.judged = s
			r.feed(Event{Kind: Guarded, Part: i, Guard: s})
		}
		if v, told := m.values["on"]; told && p.cfg.Confirm != nil && p.cfg.Confirm.Input == m.part {
			r.feed(Event{Kind: Followed, Part: i, On: v != 0})
		}
	}
}

// wish puts a wish through the machine; the level of one that counts is the
// dimmer's from then on.
func (r *run) wish(w drivers.Wish) {
	i := r.o.index[w.Part]
	e := Event{Kind: Wished, Part: i, On: w.On, Cause: w.Cause, Old: w.Old, Invalid: w.Invalid, Expires: r.expiry(w)}
	d := r.o.parts[i].dim
	if w.Level != nil {
		e.Invalid = e.Invalid || d == nil || !d.allows(*w.Level)
		e.On = *w.Level > 0
		if e.On && e.rejected(r.o.cfg[i], r.o.clk.Up()) == "" {
			d.wished = *w.Level
		}
	}
	r.feed(e)
}

// expiry is when a wish ends, by the clock that never steps; 0 for never.
func (r *run) expiry(w drivers.Wish) time.Duration {
	if w.Expires.IsZero() {
		return 0
	}
	return max(r.o.clk.Up()+w.Expires.Sub(r.o.clk.Now()), 1)
}

// feed puts an event through the machine and does what it says, including what
// follows from the read-backs.
func (r *run) feed(e Event) {
	for events := []Event{e}; len(events) > 0; events = events[1:] {
		var actions []Action
		r.state, actions, r.next = Decide(r.o.cfg, r.state, events[0], r.o.clk.Up())
		for _, a := range actions {
			events = append(events, r.write(a))
		}
	}
	for i := range r.o.parts {
		r.dim(i)
		r.report(i)
	}
}

// dim brings the level of a PWM on its way; it tells the machine only when that
// fails.
func (r *run) dim(i int) {
	p := r.o.parts[i]
	if p.dim == nil || p.line == nil {
		return
	}
	_, p.dim.cause, _ = want(r.o.cfg, r.state, i)
	p.dim.hurry = r.state[i].Stopping
	if due := p.dim.due(); due == 0 || due > r.o.clk.Up() && !p.dim.hurry && p.dim.slew > 0 {
		return
	}
	if e := r.outcome(Action{Part: i, On: p.dim.on}, p.dim.step()); e.Failed || e.Kind == Gone {
		r.state, _, r.next = Decide(r.o.cfg, r.state, e, r.o.clk.Up())
	}
}

// write sets a line and reads it back.
func (r *run) write(a Action) Event {
	p := r.o.parts[a.Part]
	if p.line == nil {
		return Event{Kind: Gone, Part: a.Part}
	}
	if p.dim != nil {
		p.dim.cause, p.dim.hurry = a.Cause, r.state[a.Part].Stopping
	}
	return r.outcome(a, p.line.Write(a.On != (p.cfg.Active == "low")))
}

// outcome reads a line back after a write.
func (r *run) outcome(a Action, err error) Event {
	p, e := r.o.parts[a.Part], Event{Kind: Observed, Part: a.Part}
	var high bool
	if err == nil {
		high, err = p.line.Read()
	}
	e.On, e.Failed, p.lineErr = p.active(high), err != nil, err
	switch {
	case err != nil && drivers.CauseOf(err) == drivers.CauseUnplugged:
		_ = p.line.Close() // it is gone
		p.line, p.openAt = nil, r.o.clk.Up()+lineRetry
		e = Event{Kind: Gone, Part: a.Part}
	case err == nil && e.On != a.On:
		p.lineErr = fmt.Errorf("%s does not follow: wrote on=%v, read on=%v", p.place(), a.On, e.On)
	}
	outcome := "ok"
	if p.lineErr != nil {
		outcome = "failed"
		r.o.log.Warn("output write failed", "part", p.cfg.Name, "err", p.lineErr)
	}
	r.o.writes.Inc(p.cfg.Name, outcome)
	return e
}

// report tells what changed about one output.
func (r *run) report(i int) {
	o, p, s := r.o, r.o.parts[i], r.state[i]
	if p.line == nil && p.lineErr == nil {
		return // its line is asked for next
	}
	now, wall := o.clk.Up(), o.clk.Now()
	h := healthOf(p, s)
	h.Since, h.Simulated = wall, o.lines.Simulated(p.pin())
	if h.State != p.health.State || h.Cause != p.health.Cause {
		p.health = h
		sampler.Report(o.reg, o.log, p.cfg.Name, h)
		o.sink.Health(p.cfg.Name, h)
	}
	next := drivers.OutputReport{Known: s.Ready && !s.Unread, On: s.On, Since: wall.Add(s.Since - now).Truncate(time.Millisecond), Cause: s.Cause}
	if p.dim != nil {
		next.Level = p.dim.told(p.report.Level)
	}
	if p.told && next.On == p.report.On && next.Since.Sub(p.report.Since).Abs() < time.Second {
		next.Since = p.report.Since // the same moment, computed again
	}
	if s.Refused.Why != "" {
		next.Refused = &drivers.Refused{Why: s.Refused.Why}
		if s.Refused.Until > 0 {
			next.Refused.Until = wall.Add(s.Refused.Until - now).Truncate(time.Millisecond)
		}
	}
	if p.told && same(next, p.report) {
		return
	}
	p.told, p.report = true, next
	o.sink.Output(p.cfg.Name, next)
	o.remember(p, s)
}

// same compares two reports; times that moved with a clock step are the same.
func same(r, o drivers.OutputReport) bool {
	if (r.Level == nil) != (o.Level == nil) || r.Level != nil && *r.Level != *o.Level {
		return false
	}
	if r.Known != o.Known || r.On != o.On || r.Cause != o.Cause || (r.Refused == nil) != (o.Refused == nil) {
		return false
	}
	if r.Since.Sub(o.Since).Abs() >= time.Second {
		return false
	}
	return r.Refused == nil || r.Refused.Why == o.Refused.Why && r.Refused.Until.Sub(o.Refused.Until).Abs() < time.Second
}

func healthOf(p *part, s Part) drivers.Health {
	switch {
	case p.line == nil:
		return drivers.Health{State: drivers.Missing, Cause: drivers.CauseOf(p.lineErr), Error: p.lineErr.Error()}
	case s.BadLine:
		return drivers.Health{State: drivers.Fault, Cause: drivers.CauseReadBack, Error: fmt.Sprint(p.lineErr)}
	case s.NotConfirmed:
		return drivers.Health{State: drivers.Fault, Cause: drivers.CauseNotConfirmed,
			Error: fmt.Sprintf("input %s did not follow within %v", p.cfg.Confirm.Input, p.cfg.Confirm.Within)}
	}
	return drivers.Health{State: drivers.OK}
}

// end writes the on_stop levels and gives the lines back.
func (r *run) end() {
	r.feed(Event{Kind: Stopped})
	for _, p := range r.o.parts {
		if p.line == nil {
			continue
		}
		if err := p.line.Close(); err != nil {
			r.o.log.Warn("output line not given back", "part", p.cfg.Name, "err", err)
		}
		p.line = nil
	}
}
