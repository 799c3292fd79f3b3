package output

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tidehold/tidehold/drivers"
)

// Safe brings outputs to their on_stop level without the daemon, as
// `tidehold outputs --safe` does after a crash. Outputs with `keep` are left
// alone. The first error is returned, after all were tried.
func Safe(outputs []drivers.OutputConfig, lines drivers.Lines) error {
	var first error
	for _, c := range outputs {
		if err := safe(c, lines); err != nil && first == nil {
			first = fmt.Errorf("output %s: %w", c.Name, err)
		}
	}
	return first
}

func safe(c drivers.OutputConfig, lines drivers.Lines) error {
	m, _, err := modeOrLevel(c.OnStop)
	if err != nil || m == modeKeep {
		return err
	}
	o := &Outputs{lines: lines}
	p := newPart(c, nil)
	if p.dim != nil {
		p.dim.cause, p.dim.clock = causeStop, func() time.Duration { return 0 }
	}
	level := drivers.Low
	if (m == modeOn) != (p.cfg.Active == "low") {
		level = drivers.High
	}
	line, err := o.request(p, level)
	if err != nil {
		return err
	}
	return line.Close()
}

// kept is what memory has of an output.
type kept struct {
	On    bool      `json:"on"`
	At    time.Time `json:"at"`
	Level float64   `json:"level,omitempty"` // of a PWM that was on
}

// remembers reports whether the state of an output matters after a restart.
func (p *part) remembers() bool {
	return modeOf(p.cfg.OnStart) == modeRestore || p.cfg.MinOff > 0 || p.cfg.MinOn > 0 || p.cfg.MaxOn > 0
}

// level is what of a state is remembered.
type level struct {
	on    bool
	level float64
}

func (p *part) keeps(s Part) level {
	if p.dim == nil || !s.On {
		return level{on: s.On}
	}
	return level{true, p.dim.wished}
}

// recall gives the remembered level and when it began; off and now when there
// is none.
func (o *Outputs) recall(p *part, now time.Duration) (bool, time.Duration) {
	if o.memory == nil || !p.remembers() {
		return false, now
	}
	state, found, err := o.memory.Load(p.cfg.Name)
	var k kept
	if err == nil && found {
		err = json.Unmarshal(state, &k)
	}
	if err != nil {
		o.log.Warn("output state not restored", "part", p.cfg.Name, "err", err)
		return false, now
	}
	if p.dim != nil && p.dim.allows(k.Level) {
		p.dim.wished = k.Level
	}
	age := o.clk.Now().Sub(k.At)
	if !found || age < 0 {
		return k.On, now
	}
	return k.On, now - age
}

// remember hands a changed level to the saver: the loop never waits for a disk.
func (o *Outputs) remember(p *part, s Part) {
	if o.memory == nil || !p.remembers() || !s.Ready || s.Stopping || p.hasSave && p.saved == p.keeps(s) {
		return
	}
	k := p.keeps(s)
	state, err := json.Marshal(kept{On: k.on, At: p.report.Since, Level: k.level})
	if err != nil {
		o.log.Warn("output state not saved", "part", p.cfg.Name, "err", err)
		return
	}
	p.hasSave, p.saved = true, k
	o.saveMu.Lock()
	o.saves[p.cfg.Name] = state // the latest wins: at most one entry per output
	o.saveMu.Unlock()
	select {
	case o.saveWake <- struct{}{}:
	default:
	}
}

func (o *Outputs) saveLoop(ctx context.Context) {
	for {
		select {
		case <-o.saveWake:
			o.flush()
		case <-ctx.Done():
			o.flush()
			return
		}
	}
}

func (o *Outputs) flush() {
	o.saveMu.Lock()
	pending := o.saves
	o.saves = map[string][]byte{}
	o.saveMu.Unlock()
	for name, state := range pending {
		if err := o.memory.Save(name, state); err != nil {
			o.log.Warn("output state not saved", "part", name, "err", err)
		}
	}
}
