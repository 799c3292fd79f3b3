// Package expander hands out the pins of chips on an I2C bus: MCP23017 and
// PCF8574 as GPIO lines, PCA9685 as PWM channels.
//
// A chip is named where it sits: BUS/ADDRESS/KIND, like main/0x20/mcp23017. All
// users of a chip share it; one transaction sequence runs at a time, and every
// change reads the chip first, so that a chip that lost its supply gets its
// directions back with the next write and other pins keep what they have.
//
// Inputs are polled, every pollEvery: faster edges are not seen, and a counter
// counts at most 1/(2·pollEvery) pulses a second. Nothing here starts a
// goroutine; a call blocks until its bus answers, at most callTime.
package expander

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tidehold/tidehold/drivers"
)

// Limits of a call and of polling.
const (
	callTime  = 500 * time.Millisecond
	pollEvery = 10 * time.Millisecond
)

// kinds are the chips with GPIO lines, pwmKind the one with PWM channels.
var kinds = map[string]func() port{
	"mcp23017": func() port { return mcp23017{} },
	"pcf8574":  func() port { return &pcf8574{} },
}

const pwmKind = "pca9685"

// Split takes the name of an expander apart; false when it is none.
func Split(name string) (bus string, addr uint16, kind string, ok bool) {
	parts := strings.Split(name, "/")
	if len(parts) < 3 {
		return "", 0, "", false
	}
	kind = parts[len(parts)-1]
	a, err := strconv.ParseUint(parts[len(parts)-2], 0, 16)
	if kinds[kind] == nil && kind != pwmKind || err != nil || a > 0x7f {
		return "", 0, "", false
	}
	return strings.Join(parts[:len(parts)-2], "/"), uint16(a), kind, true
}

// Named reports that a chip's name is that of an expander.
func Named(chip string) bool {
	_, _, _, ok := Split(chip)
	return ok
}

// Set is the expanders of one configuration. Safe for several goroutines.
type Set struct {
	find func(name string) (drivers.Bus, error)

	mu    sync.Mutex
	chips map[string]*chip
}

// On makes the set for the buses that find knows.
func On(find func(name string) (drivers.Bus, error)) *Set {
	return &Set{find: find, chips: map[string]*chip{}}
}

// Simulated reports that the expander of this name sits on a simulated bus.
func (s *Set) Simulated(name string) bool {
	bus, _, _, ok := Split(name)
	if !ok {
		return false
	}
	b, err := s.find(bus)
	return err == nil && b.Simulated()
}

// chip finds a chip, made on first use.
func (s *Set) chip(name string) (*chip, error) {
	bus, addr, kind, ok := Split(name)
	if !ok {
		return nil, fmt.Errorf("expander %q: want BUS/ADDRESS/KIND: %w", name, drivers.ErrNoBus)
	}
	b, err := s.find(bus)
	if err != nil {
		return nil, fmt.Errorf("expander %s: %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.chips[name]
	if c == nil {
		c = &chip{name: name, handle: drivers.NewHandle(b, addr), turn: make(chan struct{}, 1)}
		if kinds[kind] != nil {
			c.port = kinds[kind]()
		}
		s.chips[name] = c
	}
	return c, nil
}

// Input requests a line as input.
func (s *Set) Input(pin drivers.PinConfig, pull drivers.Pull, edges drivers.Edges) (drivers.InputLine, error) {
	c, bit, err := s.line(pin)
	if err != nil {
		return nil, err
	}
	l := &input{chip: c, bit: bit, edges: edges}
	err = c.do(drivers.Poll, func() (err error) {
		if err = c.port.input(c, bit, pull); err != nil {
			return err
		}
		l.last, err = c.high(bit)
		return err
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}

// Output requests a line as output. The level is written before the direction,
// so that the pin has it from the first moment.
func (s *Set) Output(pin drivers.PinConfig, initial drivers.Level) (drivers.OutputLine, error) {
	c, bit, err := s.line(pin)
	if err != nil {
		return nil, err
	}
	l := &output{c, bit}
	if err := c.do(drivers.OutputWrite, func() error { return c.port.output(c, bit, initial) }); err != nil {
		return nil, err
	}
	return l, nil
}

func (s *Set) line(pin drivers.PinConfig) (*chip, int, error) {
	c, err := s.chip(pin.Chip)
	if err != nil {
		return nil, 0, err
	}
	if c.port == nil {
		return nil, 0, fmt.Errorf("expander %s has PWM channels, no lines: %w", pin.Chip, drivers.ErrUnplugged)
	}
	bit := slices.Index(c.port.names(), pin.Line)
	if n, err := strconv.Atoi(pin.Line); err == nil {
		bit = n
	}
	if bit < 0 || bit >= len(c.port.names()) {
		return nil, 0, fmt.Errorf("expander %s has no line %q; it has %s: %w", pin.Chip, pin.Line, strings.Join(c.port.names(), " "), drivers.ErrUnplugged)
	}
	return c, bit, nil
}

// port is what a kind of chip does with its lines, counted from 0.
type port interface {
	names() []string
	// levels reads the pins, the lowest bit first.
	levels(c *chip) (uint16, error)
	// input makes a line an input.
	input(c *chip, bit int, pull drivers.Pull) error
	// output makes a line an output and gives it a level.
	output(c *chip, bit int, level drivers.Level) error
}

// chip is one expander. What is below turn belongs to who holds it.
type chip struct {
	name   string
	handle *drivers.Handle
	port   port
	// turn is a channel, not a mutex, so that waiting for it lets a bubble's
	// time go on.
	turn chan struct{}

	frequency int64 // of a PWM chip, 0: nobody chose one
	snapshot  uint16
	takenAt   time.Time
}

// do runs f, a sequence of transactions, alone on the chip.
func (c *chip) do(p drivers.Priority, f func() error) error {
	ctx, cancel := context.WithTimeout(drivers.WithPriority(context.Background(), p), callTime)
	defer cancel()
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("expander %s: %w", c.name, drivers.ErrTimeout)
	}
	defer func() { <-c.turn }()
	if err := c.handle.Do(ctx, f); err != nil {
		return fmt.Errorf("expander %s: %w", c.name, err)
	}
	return nil
}

func (c *chip) read(reg byte, b []byte) error { return c.handle.Tx(c.handle.Address(), []byte{reg}, b) }

func (c *chip) register(reg byte) (byte, error) {
	var b [1]byte
	err := c.read(reg, b[:])
	return b[0], err
}

func (c *chip) write(b ...byte) error { return c.handle.Tx(c.handle.Address(), b, nil) }

// high reads one pin.
func (c *chip) high(bit int) (bool, error) {
	v, err := c.port.levels(c)
	return v>>bit&1 == 1, err
}

// recent is a pin's level, at most half a poll old: lines that poll one chip
// share its transactions.
func (c *chip) recent(bit int) (high bool, err error) {
	err = c.do(drivers.Poll, func() error {
		if time.Since(c.takenAt) >= pollEvery/2 {
			v, err := c.port.levels(c)
			if err != nil {
				return err
			}
			c.snapshot, c.takenAt = v, time.Now()
		}
		high = c.snapshot>>bit&1 == 1
		return nil
	})
	return high, err
}

// input is a line that is polled.
type input struct {
	*chip
	bit   int
	edges drivers.Edges
	last  bool
	seq   uint64
}

// Read is the level now.
func (l *input) Read() (high bool, err error) {
	err = l.do(drivers.Poll, func() (err error) { high, err = l.high(l.bit); return err })
	return high, err
}

// Wait polls until the level has changed.
func (l *input) Wait(ctx context.Context) (drivers.LineEdge, error) {
	for {
		high, err := l.recent(l.bit)
		if err != nil {
			return drivers.LineEdge{}, err
		}
		changed := high != l.last
		l.last = high
		if changed && (l.edges == drivers.BothEdges || high == (l.edges == drivers.RisingEdges)) {
			l.seq++
			return drivers.LineEdge{High: high, Time: time.Now(), Seq: l.seq}, nil
		}
		t := time.NewTimer(pollEvery)
		select {
		case <-ctx.Done():
			t.Stop()
			return drivers.LineEdge{}, ctx.Err()
		case <-t.C:
		}
	}
}

// Close gives the line back; it stays an input.
func (l *input) Close() error { return nil }

// output is a line that is driven.
type output struct {
	*chip
	bit int
}

// Write gives the line a level, and its direction back when the chip lost it.
func (l *output) Write(high bool) error {
	level := drivers.Low
	if high {
		level = drivers.High
	}
	return l.do(drivers.OutputWrite, func() error { return l.port.output(l.chip, l.bit, level) })
}

// Read is the level at the pin.
func (l *output) Read() (high bool, err error) {
	err = l.do(drivers.Poll, func() (err error) { high, err = l.high(l.bit); return err })
	return high, err
}

// Close gives the line back; the chip keeps its level.
func (l *output) Close() error { return nil }
