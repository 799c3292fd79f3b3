package sim

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/tidehold/tidehold/drivers"
)

// Chip answers the messages that follow its address.
type Chip interface {
	Write(b []byte) error
	Read(b []byte) error
	// PowerLoss puts every register back to its value after power-up.
	PowerLoss()
	// WrongID makes the identity register disagree, or agree again.
	WrongID(wrong bool)
}

// FaultKind is what goes wrong.
type FaultKind string

// The faults of chips, lines and buses.
const (
	NoFault   FaultKind = "none"
	NACK      FaultKind = "nack"       // the address does not answer
	Stuck     FaultKind = "stuck"      // holds its line: a chip costs the time-out, a bus is held until it is freed
	Flip      FaultKind = "flip"       // a wrong bit in the first byte read
	Slow      FaultKind = "slow"       // the answer is late
	PowerLoss FaultKind = "power-loss" // once: registers back to reset
	WrongID   FaultKind = "wrong-id"
	Unplug    FaultKind = "unplug" // bus or line: gone
)

// slowDefault is the delay of a slow chip when none is named.
const slowDefault = 300 * time.Millisecond

// Fault is a fault at one address: every n-th transaction, 0 and 1 mean all.
type Fault struct {
	Kind  FaultKind
	Delay time.Duration
	Every int
	seen  int
}

type slot struct {
	chip  Chip
	fault Fault
}

// Bus is a simulated bus and GPIO chip.
type Bus struct {
	name string
	seed uint64
	// turn is held during a transaction. It is a channel, not a mutex, so that
	// waiting for it lets a bubble's time go on.
	turn chan struct{}

	mu        *sync.Mutex
	slots     map[uint16]*slot
	lines     map[string]*Line
	levels    map[int]*level
	unplugged bool
	count     int
	epoch     uint64
	held      int // clock pulses until a chip lets the data line go; 0: nobody holds it
	pulses    bool
}

// NewBus makes an empty bus.
func NewBus(name string, seed uint64) *Bus {
	return &Bus{mu: &sync.Mutex{}, name: name, seed: seed, turn: make(chan struct{}, 1), slots: map[uint16]*slot{}, lines: map[string]*Line{}, levels: map[int]*level{}}
}

var _ drivers.Bus = (*Bus)(nil)

// Name is the bus's configured name.
func (b *Bus) Name() string { return b.name }

// Simulated is true.
func (b *Bus) Simulated() bool { return true }

// Attach puts a chip on the bus; an address that is taken is an error.
func (b *Bus) Attach(addr uint16, c Chip) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.slots[addr] != nil {
		return fmt.Errorf("bus %s: address 0x%02x is taken", b.name, addr)
	}
	b.slots[addr] = &slot{chip: c}
	return nil
}

// Detach takes the chip off the bus.
func (b *Bus) Detach(addr uint16) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.slots, addr)
}

// Transactions is the number of transactions seen.
func (b *Bus) Transactions() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.count
}

// SetFault replaces the fault at an address. PowerLoss happens at once and
// does not last.
func (b *Bus) SetFault(addr uint16, f Fault) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.slots[addr]
	if s == nil {
		return fmt.Errorf("bus %s: no chip at 0x%02x", b.name, addr)
	}
	if f.Kind == PowerLoss {
		s.chip.PowerLoss()
		return nil
	}
	s.chip.WrongID(f.Kind == WrongID)
	s.fault = f
	return nil
}

// SetUnplugged takes the whole adapter away, or puts it back.
func (b *Bus) SetUnplugged(gone bool) {
	b.mu.Lock()
	if b.unplugged && !gone {
		b.epoch++
	}
	b.unplugged = gone
	slots := b.all()
	b.mu.Unlock()
	if gone { // the chips lose their supply with the adapter
		for _, s := range slots {
			s.chip.PowerLoss()
		}
	}
}

// Hold lets a chip hold the data line, as one that lost its master in the
// middle of a byte does: nobody can be heard until the clock was pulsed so many
// times. 0 lets go. withPulses says whether the board can pulse the clock.
func (b *Bus) Hold(pulses int, withPulses bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held, b.pulses = pulses, withPulses
}

// pulsesMax are the clock pulses of one try to free a bus: a byte and its
// acknowledgement.
const pulsesMax = 9

// Free pulses the clock, up to nine times, as the I2C specification says
// (UM10204, 3.1.16).
func (b *Bus) Free(context.Context) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.pulses {
		return "", fmt.Errorf("bus %s: no lines for recovery: %w", b.name, drivers.ErrNotClaimed)
	}
	n := min(b.held, pulsesMax)
	b.held -= n
	return fmt.Sprintf("%d pulses", n), nil
}

// Epoch counts how often the adapter was plugged in.
func (b *Bus) Epoch() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.epoch
}

// silence is the time-out of the simulated adapter: what a held clock or data
// line costs.
const silence = 200 * time.Millisecond

// Tx serves one transaction.
func (b *Bus) Tx(ctx context.Context, addr uint16, w, r []byte) error {
	select {
	case b.turn <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("wait for bus: %w", drivers.ErrTimeout)
	}
	defer func() { <-b.turn }()
	s, fault, err := b.enter(addr)
	if err != nil {
		return err
	}
	if err := fault.strike(ctx); err != nil {
		return err
	}
	return b.transfer(s.chip, fault, w, r)
}

// enter finds the chip and the fault that hits this transaction.
func (b *Bus) enter(addr uint16) (*slot, Fault, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.count++
	if b.unplugged {
		return nil, Fault{}, fmt.Errorf("adapter: %w", drivers.ErrUnplugged)
	}
	if b.held > 0 {
		return nil, Fault{Kind: Stuck}, nil
	}
	s := b.reach(addr)
	if s == nil {
		return nil, Fault{}, drivers.ErrNACK
	}
	s.fault.seen++
	if s.fault.Every > 1 && s.fault.seen%s.fault.Every != 0 {
		return s, Fault{}, nil
	}
	return s, s.fault, nil
}

func (f Fault) strike(ctx context.Context) error {
	switch f.Kind {
	case NACK:
		return drivers.ErrNACK
	case Stuck:
		_ = linger(ctx, silence) // either way nobody answered
		return drivers.ErrTimeout
	case Slow:
		return linger(ctx, f.Delay)
	}
	return nil
}

func linger(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return drivers.ErrTimeout
	}
}

func (b *Bus) transfer(c Chip, f Fault, w, r []byte) error {
	if len(w) > 0 {
		if err := c.Write(w); err != nil {
			return err
		}
	}
	if len(r) == 0 {
		return nil
	}
	if err := c.Read(r); err != nil {
		return err
	}
	if f.Kind == Flip {
		r[0] ^= 0x10
	}
	return nil
}

// Line gives the line of a name, made on first use.
func (b *Bus) Line(name string) *Line {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.lines[name]
	if l == nil {
		l = newLine(b, name)
		b.lines[name] = l
	}
	return l
}

func (b *Bus) gone() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.unplugged
}

// parseFault reads a fault kind and its value: the delay of slow, else n.
func parseFault(kind, value string) (Fault, error) {
	f := Fault{Kind: FaultKind(strings.ToLower(kind))}
	switch f.Kind {
	case Slow:
		f.Delay = slowDefault
		if value != "" {
			d, ok := drivers.ParseDuration(value)
			if !ok {
				return f, fmt.Errorf("fault slow: want a duration like 300ms, got %q", value)
			}
			f.Delay = d
		}
		return f, nil
	case NoFault, NACK, Stuck, Flip, PowerLoss, WrongID, Unplug:
		if value == "" {
			return f, nil
		}
		if _, err := fmt.Sscanf(value, "%d", &f.Every); err != nil || f.Every < 1 {
			return f, fmt.Errorf("fault %s: want a whole number n for every n-th transaction, got %q", kind, value)
		}
		return f, nil
	}
	return f, fmt.Errorf("unknown fault %q: want none, nack, stuck, flip, slow, power-loss, wrong-id or unplug", kind)
}
