package sim

import (
	"fmt"
	"sync"

	"github.com/tidehold/tidehold/drivers"
)

// level is a simulated PWM channel.
type level struct {
	bus *Bus

	mu   sync.Mutex
	now  float64
	held bool // fault: it does not follow
	gone bool
}

// level gives the channel of a number, made on first use.
func (b *Bus) level(channel int) *level {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.levels[channel]
	if l == nil {
		l = &level{bus: b}
		b.levels[channel] = l
	}
	return l
}

// PWM takes a channel of a simulated chip.
func (w *World) PWM(c drivers.PWMConfig, initial *float64) (drivers.LevelLine, error) {
	b, err := w.find(c.Chip)
	if err != nil {
		return nil, err
	}
	l := b.level(c.Channel)
	if _, err := l.Level(); err != nil {
		return nil, err
	}
	if initial != nil {
		return l, l.Set(*initial)
	}
	return l, nil
}

// Set gives the channel a level.
func (l *level) Set(v float64) error {
	if _, err := l.Level(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.held {
		l.now = v
	}
	return nil
}

// Level is the level now.
func (l *level) Level() (float64, error) {
	if l.bus.gone() {
		return 0, fmt.Errorf("pwm: chip %s: %w", l.bus.name, drivers.ErrUnplugged)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone {
		return 0, fmt.Errorf("pwm of %s: %w", l.bus.name, drivers.ErrUnplugged)
	}
	return l.now, nil
}

// Close leaves the level as it is.
func (l *level) Close() error { return nil }

// levelPart is an output with levels under its name.
type levelPart struct{ *level }

func (p levelPart) get(string) (map[string]any, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return map[string]any{"level": p.now, "on": p.now > 0}, nil
}

func (p levelPart) set(string, string) error {
	return fmt.Errorf("an output is set by its shadow or a command; `sim` only looks at its pin")
}

func (p levelPart) fault(f Fault) error {
	switch f.Kind {
	case NoFault, Stuck, Unplug:
		p.mu.Lock()
		defer p.mu.Unlock()
		p.held, p.gone = f.Kind == Stuck, f.Kind == Unplug
		return nil
	}
	return fmt.Errorf("fault %q is for chips; a line knows none, stuck and unplug", f.Kind)
}
