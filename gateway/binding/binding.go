package binding

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
)

// Shadows is the shadow service: an update is done when it returns.
type Shadows interface {
	Update(ctx context.Context, key iot.ShadowKey, payload []byte, o iot.Origin) error
}

// Publisher takes messages into the house.
type Publisher interface{ Publish(m iot.Message) }

// Outputs is who makes wishes true. None of its methods blocks.
type Outputs interface {
	Set(w drivers.Wish) error
	Observe(part string, values map[string]float64)
	ObserveHealth(part string, h drivers.Health)
}

const (
	// wishesMax bounds wishes that wait for Run; the oldest is dropped.
	wishesMax = 256
	// lastWords bounds the writes at the end of Run.
	lastWords = 2 * time.Second
	// updateTimeout bounds one shadow update.
	updateTimeout = 10 * time.Second
)

// Binding runs a Table. It is the sink of sampler, inputs and outputs; these
// methods only take note and never block.
type Binding struct {
	shadows Shadows
	pub     Publisher
	clk     clock.Clock
	log     *slog.Logger
	updates *metrics.Counter
	dropped *metrics.Counter
	wake    chan struct{}

	mu     sync.Mutex
	table  *Table
	wishes []drivers.Wish
	seen   map[string]map[string]float64 // values for the outputs' guards
	health map[string]drivers.Health
}

// New builds the binding. Its start is now: wishes from before are old.
func New(parts []Part, shadows Shadows, pub Publisher, clk clock.Clock, m *metrics.Registry, log *slog.Logger) (*Binding, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	table, err := NewTable(parts, clk.Now())
	if err != nil {
		return nil, err
	}
	return &Binding{shadows: shadows, pub: pub, clk: clk, log: log, table: table, wake: make(chan struct{}, 1),
		seen: map[string]map[string]float64{}, health: map[string]drivers.Health{},
		updates: m.Counter("binding_updates_total", "Shadow updates of parts by outcome.", "outcome"),
		dropped: m.Counter("binding_dropped_total", "Messages and wishes of parts dropped because a queue was full.", "what"),
	}, nil
}

// Samples takes the readings of one poll of a sensor.
func (b *Binding) Samples(part string, samples []drivers.Sample) {
	b.note(func() {
		b.table.Samples(b.clk.Up(), part, samples)
		for _, s := range samples {
			if s.Live {
				b.see(part, s.Channel, s.LiveValue)
			}
		}
	})
}

// Health takes a change of a part's health.
func (b *Binding) Health(part string, h drivers.Health) {
	b.note(func() {
		b.table.Health(b.clk.Up(), part, h)
		b.health[part] = h
	})
}

// Input takes the state of an input.
func (b *Binding) Input(part string, e drivers.InputEvent) {
	b.note(func() {
		b.table.Input(b.clk.Up(), part, e)
		on := 0.0
		if e.On {
			on = 1
		}
		b.see(part, "on", on)
		if e.Position != nil {
			b.see(part, "position", float64(*e.Position))
		}
	})
}

// Output takes the state of an output as it was read back.
func (b *Binding) Output(part string, r drivers.OutputReport) {
	b.note(func() { b.table.Output(b.clk.Up(), part, r) })
}

// Delta takes a delta document of a shadow, or its state alone. Deltas that
// follow from reported changes of parts may be given too: with the document's
// metadata a wish is taken only once.
func (b *Binding) Delta(key iot.ShadowKey, document []byte) {
	b.note(func() { b.want(b.table.Delta(key, document)...) })
}

// Current takes a shadow as it stands after the start of the daemon.
func (b *Binding) Current(key iot.ShadowKey, document []byte) {
	b.note(func() { b.want(b.table.Current(key, document)...) })
}

// Command takes a message on cmd/THING/OUTPUT; false when it is none of ours.
func (b *Binding) Command(m iot.Message) bool {
	levels := strings.Split(m.Topic, "/")
	if len(levels) != 3 || levels[0] != "cmd" {
		return false
	}
	taken := false
	b.note(func() {
		var w drivers.Wish
		if w, taken = b.table.Command(iot.ThingName(levels[1]), levels[2], m.Payload); taken {
			b.want(w)
		}
	})
	return taken
}

// Drive sets an output in the name of who, as Table.Drive says; nil means that
// the wish waits for the output, which may still refuse it.
func (b *Binding) Drive(output, command, who string, payload []byte) error {
	var err error
	b.note(func() {
		var w drivers.Wish
		if w, err = b.table.Drive(output, command, who, payload); err == nil {
			b.want(w)
		}
	})
	return err
}

func (b *Binding) note(f func()) {
	b.mu.Lock()
	f()
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *Binding) see(part, channel string, v float64) {
	if b.seen[part] == nil {
		b.seen[part] = map[string]float64{}
	}
	b.seen[part][channel] = v
}

func (b *Binding) want(wishes ...drivers.Wish) {
	b.wishes = append(b.wishes, wishes...)
	if over := len(b.wishes) - wishesMax; over > 0 {
		b.wishes = b.wishes[over:]
		b.dropped.Add(float64(over), "wish")
	}
}

// Run writes patches, publishes messages and brings wishes to the outputs
// until ctx ends; then it says the last words. Stop it after the sampler,
// inputs and outputs.
func (b *Binding) Run(ctx context.Context, outputs Outputs) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-b.wake:
			timer.Reset(b.turn(ctx, outputs, false))
		case <-timer.C:
			timer.Reset(b.turn(ctx, outputs, false))
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer cancel()
	b.turn(last, outputs, true)
	return nil
}

// turn does what is due and tells how long nothing will be.
func (b *Binding) turn(ctx context.Context, outputs Outputs, all bool) time.Duration {
	b.serve(outputs)
	b.mu.Lock()
	patches, messages, next, waits := b.table.Due(b.clk.Up(), all)
	if n := b.table.Dropped(); n > 0 {
		b.dropped.Add(float64(n), "message")
	}
	b.mu.Unlock()
	for _, m := range messages {
		b.pub.Publish(m)
	}
	for _, p := range patches {
		b.update(ctx, p)
	}
	if len(patches) > 0 && !all {
		b.note(func() {}) // look again: a refused patch has a new deadline
	}
	if !waits {
		return time.Hour
	}
	return max(next-b.clk.Up(), 0)
}

// serve brings wishes and observations to the outputs, observations first: a
// guard is judged by the newest value.
func (b *Binding) serve(outputs Outputs) {
	b.mu.Lock()
	wishes, seen, health := b.wishes, b.seen, b.health
	b.wishes, b.seen, b.health = nil, map[string]map[string]float64{}, map[string]drivers.Health{}
	b.mu.Unlock()
	for part, h := range health {
		outputs.ObserveHealth(part, h)
	}
	for part, values := range seen {
		outputs.Observe(part, values)
	}
	for _, w := range wishes {
		if err := outputs.Set(w); err != nil {
			b.dropped.Inc("wish")
			b.log.Warn("wish refused", "part", w.Part, "err", err)
		}
	}
}

func (b *Binding) update(ctx context.Context, p Patch) {
	ctx, cancel := context.WithTimeout(ctx, updateTimeout)
	defer cancel()
	err := b.shadows.Update(ctx, p.Key, p.Payload, p.Origin)
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil {
		b.table.Accepted(p)
		b.updates.Inc("ok")
		return
	}
	b.table.Refused(b.clk.Up(), p)
	b.updates.Inc("refused")
	if !errors.Is(err, context.Canceled) {
		b.log.Warn("shadow update refused, will be tried again", "thing", p.Key.Thing, "shadow", p.Key.Shadow, "err", err)
	}
}
