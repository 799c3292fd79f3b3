package sim

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tidehold/tidehold/drivers"
)

// World holds all simulated buses and knows the parts on them by name.
type World struct {
	start time.Time

	mu    sync.Mutex
	buses map[string]*Bus
	parts map[string]part
	pins  map[string]string // kind of expander by BUS/ADDRESS
	wake  chan struct{}     // Run looks again at its toggles
}

// part is something on a bus that has a name.
type part interface {
	get(quantity string) (map[string]any, error)
	set(quantity, value string) error
	fault(f Fault) error
}

// NewWorld makes an empty world that begins now.
func NewWorld() *World {
	return &World{start: time.Now(), buses: map[string]*Bus{}, parts: map[string]part{}, pins: map[string]string{}, wake: make(chan struct{}, 1)}
}

var _ drivers.Buses = (*World)(nil)

// AddBus adds a simulated bus, which is also a GPIO chip of its name.
func (w *World) AddBus(c drivers.BusConfig) (*Bus, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.buses[c.Name] != nil {
		return nil, fmt.Errorf("simulated bus %s: added twice", c.Name)
	}
	b := NewBus(c.Name, c.Seed)
	w.buses[c.Name] = b
	return b, w.name(c.Name, (*busPart)(b))
}

// Bus finds a simulated bus; ErrNoBus when it is not one of this world.
func (w *World) Bus(name string) (drivers.Bus, error) {
	b, err := w.find(name)
	if err != nil {
		return nil, err
	}
	return b, nil
}

func (w *World) find(name string) (*Bus, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if b := w.buses[name]; b != nil {
		return b, nil
	}
	return nil, fmt.Errorf("simulated bus %q: %w", name, drivers.ErrNoBus)
}

// Simulated reports whether the pin's chip is one of this world.
func (w *World) Simulated(pin drivers.PinConfig) bool {
	_, err := w.find(pin.Chip)
	return err == nil
}

// Input requests a line as input.
func (w *World) Input(pin drivers.PinConfig, pull drivers.Pull, edges drivers.Edges) (drivers.InputLine, error) {
	b, err := w.find(pin.Chip)
	if err != nil {
		return nil, err
	}
	r, err := b.Line(pin.Line).requestInput(pull, edges)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Output requests a line as output.
func (w *World) Output(pin drivers.PinConfig, initial drivers.Level) (drivers.OutputLine, error) {
	b, err := w.find(pin.Chip)
	if err != nil {
		return nil, err
	}
	r, err := b.Line(pin.Line).requestOutput(initial)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// CheckSensor says what is wrong with the `simulate` of a sensor, and whether
// its chip can be simulated at all.
func CheckSensor(c drivers.SensorConfig, sheet drivers.Info) []drivers.Problem {
	var problems []drivers.Problem
	if chips[c.Driver] == nil {
		names := slices.Sorted(maps.Keys(chips))
		problems = append(problems, drivers.Problem{Path: "driver", Message: fmt.Sprintf("no simulated chip for %q", c.Driver), Hint: "there is one for " + strings.Join(names, ", ")})
	}
	for _, name := range slices.Sorted(maps.Keys(c.Simulate)) {
		if _, ok := sheet.Channel(name); !ok {
			problems = append(problems, drivers.Problem{Path: "simulate." + name, Message: fmt.Sprintf("a %s measures no %q", c.Driver, name)})
		} else if _, err := ParseSignal(c.Simulate[name], 0); err != nil {
			problems = append(problems, drivers.Problem{Path: "simulate." + name, Message: err.Error()})
		}
	}
	return problems
}

// AddSensor puts the chip of a sensor on its bus, with the signals of
// `simulate`. Its values are seen and set from outside in the unit of the
// reading, or the channel's own when the configuration names none.
func (w *World) AddSensor(c drivers.SensorConfig, sheet drivers.Info) error {
	b, err := w.locate(c.Bus)
	if err != nil {
		return fmt.Errorf("simulate sensor %s: %w", c.Name, err)
	}
	if problems := CheckSensor(c, sheet); len(problems) > 0 {
		return fmt.Errorf("simulate sensor %s: %s", c.Name, problems[0])
	}
	addresses := c.Address
	if len(addresses) == 0 {
		addresses = sheet.Addresses
	}
	if len(addresses) == 0 {
		return fmt.Errorf("simulate sensor %s: no address", c.Name)
	}
	s := &sensorPart{world: w, bus: b, address: addresses[0], channels: map[string]*channel{}}
	for _, ch := range sheet.Channels {
		if s.channels[ch.Name], err = channelOf(b.seed, c, ch); err != nil {
			return fmt.Errorf("simulate sensor %s: %w", c.Name, err)
		}
	}
	if err := b.Attach(s.address, chips[c.Driver](s.si)); err != nil {
		return fmt.Errorf("simulate sensor %s: %w", c.Name, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.name(c.Name, s)
}

func channelOf(seed uint64, c drivers.SensorConfig, ch drivers.Channel) (*channel, error) {
	out := &channel{quantity: ch.Quantity, unit: ch.Unit, as: ch.Name}
	if r, ok := c.Readings[ch.Name]; ok {
		if r.Unit != nil {
			out.unit = *r.Unit
		}
		if r.As != "" {
			out.as = r.As
		}
	}
	v, err := drivers.Convert(ch.Quantity, defaults[ch.Quantity], out.unit)
	if err != nil {
		return nil, err
	}
	out.signal = Constant(v)
	if raw, ok := c.Simulate[ch.Name]; ok {
		if out.signal, err = ParseSignal(raw, seedOf(seed, c.Name, ch.Name)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// AddInput names the line of an input and lets it toggle when it should.
func (w *World) AddInput(c drivers.InputConfig) error {
	if c.Pin == nil {
		return fmt.Errorf("simulate input %s: it has no pin", c.Name)
	}
	b, err := w.find(c.Pin.Chip)
	if err != nil {
		return fmt.Errorf("simulate input %s: %w", c.Name, err)
	}
	in := &inputPart{world: w, line: b.Line(c.Pin.Line), low: c.Active == "low", start: w.start}
	for key, raw := range c.Simulate {
		d, ok := drivers.ParseDuration(raw)
		if key != "toggle" || !ok || d <= 0 {
			return fmt.Errorf("simulate input %s: want {toggle: 20s}", c.Name)
		}
		in.toggle, in.auto = d, true
	}
	in.line.Drive(in.low) // off
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.name(c.Name, in)
}

// AddOutput names the line of an output.
func (w *World) AddOutput(c drivers.OutputConfig) error {
	b, err := w.find(c.Chip())
	if err != nil {
		return fmt.Errorf("simulate output %s: %w", c.Name, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.PWM != nil {
		return w.name(c.Name, levelPart{b.level(c.PWM.Channel)})
	}
	return w.name(c.Name, &outputPart{line: b.Line(c.Pin.Line), low: c.Active == "low"})
}

func (w *World) name(name string, p part) error {
	if w.parts[name] != nil {
		return fmt.Errorf("simulated part %s: the name is taken", name)
	}
	w.parts[name] = p
	return nil
}

// Names lists all parts and buses, sorted.
func (w *World) Names() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.parts))
}

func (w *World) part(name string) (part, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p := w.parts[name]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("no simulated part %q; there are %s", name, strings.Join(slices.Sorted(maps.Keys(w.parts)), ", "))
}

// Get tells the true state of a part: what a sensor's chip would measure by
// quantity, `on` and `level` (0 or 1) of lines. An empty quantity is all.
func (w *World) Get(name, quantity string) (map[string]any, error) {
	p, err := w.part(name)
	if err != nil {
		return nil, err
	}
	values, err := p.get(quantity)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return values, nil
}

// Set changes the world: a quantity of a sensor (`temperature`, `31.5`), an
// input (`on`, `off`; the quantity may be empty). The value `auto` gives the
// part back to its configured signal.
func (w *World) Set(name, quantity, value string) error {
	p, err := w.part(name)
	if err != nil {
		return err
	}
	if err := p.set(quantity, value); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// Fault breaks a part or repairs it (`none`). value is the delay of `slow`,
// else n for every n-th transaction; it may be empty.
func (w *World) Fault(name, kind, value string) error {
	f, err := parseFault(kind, value)
	if err != nil {
		return err
	}
	p, err := w.part(name)
	if err != nil {
		return err
	}
	if err := p.fault(f); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// Run moves the inputs that toggle, until ctx ends.
func (w *World) Run(ctx context.Context) error {
	for {
		t := time.NewTimer(w.toggleAll(time.Now()))
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-w.wake:
			t.Stop()
		case <-t.C:
		}
	}
}

// idleWait is how long Run sleeps when nothing toggles.
const idleWait = time.Hour

func (w *World) toggleAll(now time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	wait := idleWait
	for _, p := range w.parts {
		if in, ok := p.(*inputPart); ok {
			wait = min(wait, in.move(now))
		}
	}
	return wait
}

func (w *World) nudge() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// channel is one quantity of a sensor's surroundings, in its outside unit.
type channel struct {
	quantity drivers.Quantity
	unit     drivers.Unit
	as       string
	signal   Signal
	override *float64
}

type sensorPart struct {
	world   *World
	bus     *Bus
	address uint16

	mu       sync.Mutex
	channels map[string]*channel
}

// si is the world as the chip feels it.
func (s *sensorPart) si(quantity string) float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.channels[quantity]
	if c == nil {
		return 0
	}
	v, err := drivers.ToSI(c.quantity, c.value(time.Since(s.world.start)), c.unit)
	if err != nil {
		return 0 // cannot be: AddSensor has converted once
	}
	return v
}

func (c *channel) value(elapsed time.Duration) float64 {
	if c.override != nil {
		return *c.override
	}
	return c.signal(elapsed)
}

func (s *sensorPart) find(quantity string) (*channel, error) {
	for name, c := range s.channels {
		if name == quantity || c.as == quantity {
			return c, nil
		}
	}
	return nil, fmt.Errorf("no quantity %q; there are %s", quantity, strings.Join(slices.Sorted(maps.Keys(s.channels)), ", "))
}

func (s *sensorPart) get(quantity string) (map[string]any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	elapsed, values := time.Since(s.world.start), map[string]any{}
	if quantity != "" {
		c, err := s.find(quantity)
		if err != nil {
			return nil, err
		}
		values[quantity] = c.value(elapsed)
		return values, nil
	}
	for _, c := range s.channels {
		values[c.as] = c.value(elapsed)
	}
	return values, nil
}

func (s *sensorPart) set(quantity, value string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.find(quantity)
	if err != nil {
		return err
	}
	if value == "auto" {
		c.override = nil
		return nil
	}
	v, err := strconv.ParseFloat(value, 64)
	if err != nil || v != v || v > 1e9 || v < -1e9 {
		return fmt.Errorf("%s: want a number or auto, got %q", quantity, value)
	}
	c.override = &v
	return nil
}

func (s *sensorPart) fault(f Fault) error {
	if f.Kind == Unplug { // the chip alone: it answers no more
		f.Kind = NACK
	}
	return s.bus.SetFault(s.address, f)
}

// inputPart is a line that the outside drives.
type inputPart struct {
	world  *World
	line   *Line
	low    bool // active low
	start  time.Time
	toggle time.Duration

	mu   sync.Mutex
	auto bool
}

// move brings a toggling line to its level at now and tells when it changes.
func (p *inputPart) move(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.auto {
		return idleWait
	}
	n := now.Sub(p.start) / p.toggle
	p.line.Drive((n%2 == 1) != p.low)
	return (n+1)*p.toggle - now.Sub(p.start)
}

func (p *inputPart) get(string) (map[string]any, error) { return lineValues(p.line, p.low), nil }

func (p *inputPart) set(quantity, value string) error {
	if value == "" {
		value = quantity
	}
	on, ok := parseSwitch(value)
	if !ok && value != "auto" {
		return fmt.Errorf("want on, off or auto, got %q", value)
	}
	p.mu.Lock()
	p.auto = value == "auto" && p.toggle > 0
	if ok {
		p.line.Drive(on != p.low)
	}
	p.mu.Unlock()
	p.world.nudge()
	return nil
}

func (p *inputPart) fault(f Fault) error { return p.line.SetFault(f.Kind) }

// outputPart is a line that the gateway drives.
type outputPart struct {
	line *Line
	low  bool
}

func (p *outputPart) get(string) (map[string]any, error) { return lineValues(p.line, p.low), nil }

func (p *outputPart) set(string, string) error {
	return fmt.Errorf("an output is set by its shadow or a command; `sim` only looks at its pin")
}

func (p *outputPart) fault(f Fault) error { return p.line.SetFault(f.Kind) }

// busPart is a whole bus under its name.
type busPart Bus

func (p *busPart) get(string) (map[string]any, error) {
	b := (*Bus)(p)
	return map[string]any{"transactions": b.Transactions(), "unplugged": b.gone()}, nil
}

func (p *busPart) set(string, string) error { return fmt.Errorf("a bus has no values to set") }

func (p *busPart) fault(f Fault) error {
	b := (*Bus)(p)
	switch f.Kind {
	case NoFault, Unplug:
		b.Hold(0, false)
		b.SetUnplugged(f.Kind == Unplug)
	case Stuck: // n pulses free it; without n only a person does
		b.Hold(max(f.Every, 1), f.Every > 0)
	default:
		return fmt.Errorf("fault %q is for chips; a bus knows none, stuck and unplug", f.Kind)
	}
	return nil
}

func lineValues(l *Line, low bool) map[string]any {
	level := 0
	if l.Level() {
		level = 1
	}
	return map[string]any{"level": level, "on": (level == 1) != low}
}

func parseSwitch(text string) (on, ok bool) {
	switch strings.ToLower(text) {
	case "on", "true", "1":
		return true, true
	case "off", "false", "0":
		return false, true
	}
	return false, false
}
