package sim

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tidehold/tidehold/drivers"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/physic"
)

// wanted are the edges of a request in periph's words.
var wanted = map[drivers.Edges]gpio.Edge{drivers.BothEdges: gpio.BothEdges, drivers.RisingEdges: gpio.RisingEdge, drivers.FallingEdges: gpio.FallingEdge}

// edgesMax is the number of edges that wait for a reader; the oldest go first.
const edgesMax = 4096

// Line is a simulated GPIO line, with the face of a periph pin. Its level is
// what the output drives, else what the outside drives, else what the pull
// resistor gives.
type Line struct {
	bus  *Bus
	name string

	mu       sync.Mutex
	output   bool
	out      bool
	driven   bool // from outside
	outside  bool
	pull     gpio.Pull
	held     *bool // fault: the level does not follow
	gone     bool
	level    bool // last level, to see edges
	moves    int
	consumer string
	edges    chan drivers.LineEdge // nil: nobody watches
	want     gpio.Edge
	seq      uint64
	halt     chan struct{} // closed by Halt, then replaced
}

var _ gpio.PinIO = (*Line)(nil)

func newLine(b *Bus, name string) *Line {
	return &Line{bus: b, name: name, halt: make(chan struct{})}
}

// change applies f and tells the watcher when the level moved.
func (l *Line) change(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
	level := l.resolve()
	if level == l.level {
		return
	}
	l.level = level
	l.moves++
	if l.edges == nil || level && l.want == gpio.FallingEdge || !level && l.want == gpio.RisingEdge {
		return
	}
	l.seq++
	for {
		select {
		case l.edges <- drivers.LineEdge{High: level, Time: time.Now(), Seq: l.seq}:
			return
		default:
		}
		select {
		case <-l.edges:
		default:
		}
	}
}

func (l *Line) resolve() bool {
	switch {
	case l.held != nil:
		return *l.held
	case l.output:
		return l.out
	case l.driven:
		return l.outside
	}
	return l.pull == gpio.PullUp
}

// Drive sets the level from outside, as a button or a sensor would.
func (l *Line) Drive(high bool) { l.change(func() { l.driven, l.outside = true, high }) }

// Release lets the line float from outside.
func (l *Line) Release() { l.change(func() { l.driven = false }) }

// Level is the level at the pin.
func (l *Line) Level() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.resolve()
}

// Moves is how often the level changed: a glitch shows here, however short.
func (l *Line) Moves() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.moves
}

// SetFault holds the line at its present level (Stuck), takes it away
// (Unplug) or repairs it (NoFault).
func (l *Line) SetFault(kind FaultKind) error {
	switch kind {
	case NoFault, Stuck, Unplug:
	default:
		return fmt.Errorf("line %s: fault %q is for chips; a line knows none, stuck and unplug", l.name, kind)
	}
	l.change(func() {
		level := l.resolve()
		l.held, l.gone = nil, kind == Unplug
		if kind == Stuck {
			l.held = &level
		}
	})
	return nil
}

func (l *Line) check() error {
	if l.bus.gone() {
		return fmt.Errorf("line %s: chip %s: %w", l.name, l.bus.name, drivers.ErrUnplugged)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone {
		return fmt.Errorf("line %s: %w", l.name, drivers.ErrUnplugged)
	}
	return nil
}

// claim makes the line one consumer's.
func (l *Line) claim(consumer string) error {
	if err := l.check(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.consumer != "" {
		return fmt.Errorf("line %s/%s: claimed by %q: %w", l.bus.name, l.name, l.consumer, drivers.ErrNotClaimed)
	}
	l.consumer = consumer
	return nil
}

func (l *Line) free() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.consumer, l.edges = "", nil
}

// inputRequest is the line requested as input.
type inputRequest struct {
	line   *Line
	edges  chan drivers.LineEdge
	closed chan struct{}
	once   sync.Once
}

func (l *Line) requestInput(pull drivers.Pull, edges drivers.Edges) (*inputRequest, error) {
	if err := l.claim("input"); err != nil {
		return nil, err
	}
	r := &inputRequest{line: l, edges: make(chan drivers.LineEdge, edgesMax), closed: make(chan struct{})}
	l.change(func() {
		l.output, l.pull = false, pullOf(pull)
		l.level = l.resolve()
		l.edges, l.want, l.seq = r.edges, wanted[edges], 0
	})
	return r, nil
}

func pullOf(p drivers.Pull) gpio.Pull {
	switch p {
	case drivers.PullUp:
		return gpio.PullUp
	case drivers.PullDown:
		return gpio.PullDown
	}
	return gpio.Float
}

func (r *inputRequest) Read() (bool, error) {
	if err := r.line.check(); err != nil {
		return false, err
	}
	return r.line.Level(), nil
}

func (r *inputRequest) Wait(ctx context.Context) (drivers.LineEdge, error) {
	select {
	case e := <-r.edges:
		return e, nil
	case <-r.closed:
		return drivers.LineEdge{}, fmt.Errorf("line %s: closed", r.line.name)
	case <-ctx.Done():
		return drivers.LineEdge{}, ctx.Err()
	}
}

func (r *inputRequest) Close() error {
	r.once.Do(func() {
		close(r.closed)
		r.line.free()
	})
	return nil
}

// outputRequest is the line requested as output.
type outputRequest struct {
	line *Line
	once sync.Once
}

func (l *Line) requestOutput(initial drivers.Level) (*outputRequest, error) {
	if err := l.claim("output"); err != nil {
		return nil, err
	}
	l.change(func() {
		level := l.resolve()
		if initial != drivers.Keep {
			level = initial == drivers.High
		}
		l.output, l.out = true, level
	})
	return &outputRequest{line: l}, nil
}

func (r *outputRequest) Write(high bool) error {
	if err := r.line.check(); err != nil {
		return err
	}
	r.line.change(func() { r.line.out = high })
	return nil
}

func (r *outputRequest) Read() (bool, error) {
	if err := r.line.check(); err != nil {
		return false, err
	}
	return r.line.Level(), nil
}

// Close gives the line back; the level stays, as on most chips.
func (r *outputRequest) Close() error {
	r.once.Do(r.line.free)
	return nil
}

// The face of a periph pin, for chips' drivers that want one.

// String is CHIP/LINE.
func (l *Line) String() string { return l.bus.name + "/" + l.name }

// Name is the line's name.
func (l *Line) Name() string { return l.name }

// Number is the number at the end of the name, -1 when there is none.
func (l *Line) Number() int {
	digits := l.name[len(strings.TrimRight(l.name, "0123456789")):]
	n, err := strconv.Atoi(digits)
	if err != nil {
		return -1
	}
	return n
}

// Function is In or Out with the level.
func (l *Line) Function() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.output {
		return "Out/" + gpio.Level(l.resolve()).String()
	}
	return "In/" + gpio.Level(l.resolve()).String()
}

// Halt ends a waiting WaitForEdge.
func (l *Line) Halt() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.halt)
	l.halt = make(chan struct{})
	return nil
}

// In makes the line an input.
func (l *Line) In(pull gpio.Pull, edge gpio.Edge) error {
	if err := l.check(); err != nil {
		return err
	}
	if err := l.Halt(); err != nil {
		return err
	}
	l.change(func() {
		l.output, l.want = false, edge
		if pull != gpio.PullNoChange {
			l.pull = pull
		}
		l.level, l.edges, l.seq = l.resolve(), nil, 0
		if edge != gpio.NoEdge {
			l.edges = make(chan drivers.LineEdge, edgesMax)
		}
	})
	return nil
}

// Read is the level at the pin; it never changes the direction.
func (l *Line) Read() gpio.Level { return gpio.Level(l.Level()) }

// WaitForEdge waits for an edge of the kind In asked for; a negative timeout
// waits for ever.
func (l *Line) WaitForEdge(timeout time.Duration) bool {
	l.mu.Lock()
	edges, halt := l.edges, l.halt
	l.mu.Unlock()
	var late <-chan time.Time
	if timeout >= 0 {
		t := time.NewTimer(timeout)
		defer t.Stop()
		late = t.C
	}
	select {
	case <-edges:
		return true
	case <-halt:
	case <-late:
	}
	return false
}

// Pull is the resistor of an input.
func (l *Line) Pull() gpio.Pull {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pull
}

// DefaultPull is none.
func (l *Line) DefaultPull() gpio.Pull { return gpio.Float }

// Out makes the line an output with its level in one step.
func (l *Line) Out(level gpio.Level) error {
	if err := l.check(); err != nil {
		return err
	}
	l.change(func() { l.output, l.out = true, bool(level) })
	return nil
}

// PWM is not there: the simulated chip has no PWM block.
func (l *Line) PWM(gpio.Duty, physic.Frequency) error {
	return errors.New("sim: line " + l.name + " has no PWM")
}
