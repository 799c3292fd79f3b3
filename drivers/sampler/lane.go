package sampler

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/gateway/metrics"
)

// lane reads one part on its schedule.
type lane struct {
	sampler *Sampler
	part    *part
	start   time.Duration
	late    sync.WaitGroup // reads that were given up
}

func (l *lane) run(ctx context.Context) {
	p := l.part
	p.due = l.start // the first reading comes at once
	for l.wait(ctx, p.due-l.sampler.clk.Up()) {
		l.serve(ctx, p)
		l.plan(p)
	}
	l.late.Wait()
	p.collect()
	if p.device != nil {
		l.close(p)
	}
}

// close puts a chip to rest at the end; a panic there ends nothing.
func (l *lane) close(p *part) {
	defer func() {
		if r := recover(); r != nil {
			l.sampler.panics.Inc(p.cfg.Name)
		}
	}()
	if err := p.device.Close(); err != nil {
		l.sampler.log.Debug("sensor close failed", "part", p.cfg.Name, "err", err)
	}
}

func (l *lane) wait(ctx context.Context, d time.Duration) bool {
	if ctx.Err() != nil {
		return false
	}
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// plan sets the next poll: the next point of the grid while the part answers,
// a back-off while it is missing.
func (l *lane) plan(p *part) {
	now := l.sampler.clk.Up()
	p.mu.Lock()
	wait, state := p.tracker.Wait(), p.tracker.Health().State
	p.mu.Unlock()
	if state == drivers.Missing {
		p.due = now + wait
		return
	}
	shift := offset(p.cfg.Name, p.cfg.Poll)
	due, next := nextTick(p.due, l.start, shift, p.cfg.Poll), nextTick(now, l.start, shift, p.cfg.Poll)
	if p.due == l.start && next < l.start+p.cfg.Poll/2 {
		due, next = due+p.cfg.Poll, next+p.cfg.Poll // not twice in a row at the start
	}
	if missed := (next - due) / p.cfg.Poll; missed > 0 {
		l.sampler.skipped.Add(float64(missed), p.cfg.Name)
	}
	p.due = next
}

// serve polls one part, unless its last read still runs.
func (l *lane) serve(ctx context.Context, p *part) {
	if !p.collect() {
		l.sampler.skipped.Inc(p.cfg.Name)
		l.note(p, p.silence(l.sampler.clk.Up(), l.sampler.clk.Now()))
		return
	}
	p.renew()
	began := time.Now()
	o, done := l.poll(ctx, p)
	if ctx.Err() != nil && o.err != nil {
		return // the end of the house, not a fault of the part
	}
	l.sampler.seconds.Observe(time.Since(began).Seconds(), p.cfg.Name)
	l.warnSlow(p, time.Since(began))
	if done {
		p.settle(o.device)
	}
	l.judge(p, o)
}

// poll runs one read beside the lane. False means it was given up: the part is
// busy until the driver returns.
func (l *lane) poll(ctx context.Context, p *part) (outcome, bool) {
	limit := p.limit()
	readCtx, cancel := context.WithTimeout(drivers.WithSPIMode(ctx, p.sheet.SPIMode), limit)
	result := make(chan outcome, 1)
	device := p.device
	l.late.Go(func() {
		defer cancel()
		result <- p.poll(readCtx, device)
	})
	// The driver sees the deadline first; a driver that heeds it reports in
	// time and keeps its own error.
	grace := time.NewTimer(limit + limit/10 + time.Millisecond)
	defer grace.Stop()
	select {
	case o := <-result:
		return o, true
	case <-grace.C:
	}
	p.device, p.busy = nil, result
	return outcome{err: fmt.Errorf("read given up after %v: %w", limit, drivers.ErrTimeout)}, false
}

// busWaitMax is how long a read may wait for its turns on a shared bus.
const busWaitMax = 2 * time.Second

// limit bounds one read of the part.
func (p *part) limit() time.Duration {
	if _, shared := p.bus.(drivers.Shared); shared {
		return p.sheet.MaxRead + busWaitMax
	}
	return p.sheet.MaxRead
}

// renew forgets a device whose bus was opened anew since: its chip may have
// lost its supply, and is identified and set up again (drivers.md 4.5).
func (p *part) renew() {
	s, shared := p.bus.(drivers.Shared)
	if !shared {
		return
	}
	if s.Epoch() != p.epoch {
		p.device = nil
	}
}

// settle takes the device as a read left it.
func (p *part) settle(d drivers.Device) {
	if s, shared := p.bus.(drivers.Shared); shared && p.device == nil {
		p.epoch = s.Epoch()
	}
	p.device = d
}

// collect takes the result of a read that was given up; false while it runs.
func (p *part) collect() bool {
	if p.busy == nil {
		return true
	}
	select {
	case o := <-p.busy:
		p.device, p.busy = o.device, nil
		return true
	default:
		return false
	}
}

func (p *part) silence(now time.Duration, wall time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tracker.Silence(now, wall)
}

// judge turns an outcome into samples and health.
func (l *lane) judge(p *part, o outcome) {
	now, wall := l.sampler.clk.Up(), l.sampler.clk.Now()
	var samples []drivers.Sample
	var faulty []*channel
	var refused *float64
	err := o.err
	if err != nil {
		faulty = p.channels
	}
	for _, r := range o.readings {
		c := p.channel(r.Channel)
		if c == nil {
			continue
		}
		s, bad := c.step(r.Value, now)
		if bad != nil {
			err, faulty, refused = bad, append(faulty, c), &r.Value
			continue
		}
		s.Time, s.Up, s.Unsynced = wall, now, !l.sampler.clk.Synced()
		samples = append(samples, s)
	}
	if p.doubt.after(refused) && p.device != nil {
		l.close(p)
		p.device = nil
	}
	l.count(p, err)
	p.mu.Lock()
	var changed bool
	if err == nil {
		changed = p.tracker.Value(now, wall)
	} else {
		changed = p.tracker.Failure(err, now, wall)
	}
	live := p.tracker.Health().Live()
	p.mu.Unlock()
	if !live {
		for _, c := range faulty {
			c.fault()
		}
	}
	l.note(p, changed)
	if len(samples) > 0 {
		l.sampler.sink.Samples(p.cfg.Name, samples)
	}
}

func (l *lane) count(p *part, err error) {
	if err == nil {
		l.sampler.polls.Inc(p.cfg.Name, "ok")
		return
	}
	cause := drivers.CauseOf(err)
	l.sampler.polls.Inc(p.cfg.Name, string(cause))
	if cause == drivers.CausePanic {
		l.sampler.panics.Inc(p.cfg.Name)
	}
}

// note tells a change of health to everybody.
func (l *lane) note(p *part, changed bool) {
	if !changed {
		return
	}
	p.mu.Lock()
	h := p.tracker.Health()
	p.mu.Unlock()
	Report(l.sampler.reg, l.sampler.log, p.cfg.Name, h)
	l.sampler.sink.Health(p.cfg.Name, h)
}

// Report puts a part's health into the components of the registry, as
// driver/NAME, and logs the change. A broken part degrades the gateway and
// never fails it.
func Report(reg *metrics.Registry, log *slog.Logger, name string, h drivers.Health) {
	state, err := metrics.OK, error(nil)
	if !h.Live() && h.State != drivers.Disabled && h.State != drivers.Starting {
		state, err = metrics.Degraded, fmt.Errorf("%s: %s", h.State, h.Error)
	}
	reg.Health.Set("driver/"+name, state, err, h.Since)
	if h.Live() {
		log.Info("part health changed", "part", name, "state", h.State, "cause", h.Cause)
		return
	}
	log.Warn("part health changed", "part", name, "state", h.State, "cause", h.Cause, "err", h.Error)
}

// warnSlow tells once that reads take more than half of the interval.
func (l *lane) warnSlow(p *part, took time.Duration) {
	if p.slow || took <= p.cfg.Poll/2 {
		return
	}
	p.slow = true
	l.sampler.log.Warn("sensor read takes more than half of its interval", "part", p.cfg.Name, "dur", took)
}
