package drivers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"periph.io/x/conn/v3"
	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"
)

// Bus carries transactions to the chips of one bus. Safe for several
// goroutines; transactions come one after the other.
type Bus interface {
	// Name is the bus's name in the configuration.
	Name() string
	// Simulated reports that there is no hardware behind it.
	Simulated() bool
	// Tx writes w, then reads r, in one transaction with addr. Its errors wrap
	// ErrNACK, ErrTimeout, ErrBusStuck, ErrUnplugged, ErrPermission or
	// ErrNotClaimed. It gives up when ctx ends, as far as the hardware lets it.
	Tx(ctx context.Context, addr uint16, w, r []byte) error
}

// retryWaits are the pauses before each further try, per cause: two for a
// NACK, one for a time-out (drivers.md 4.3). CRC retries belong to the drivers.
var retryWaits = map[Cause][]time.Duration{
	CauseNACK:    {time.Millisecond, 5 * time.Millisecond},
	CauseTimeout: {0},
}

// Handle is one address of a bus: an i2c.Bus for periph's drivers that reaches
// no other address, and by Conn a conn.Conn. Transactions count only inside
// Do, under the deadline given there.
type Handle struct {
	bus  Bus
	addr uint16

	mu sync.Mutex
	// ctx is kept only for the length of one Do: periph's interfaces have no
	// place for it.
	ctx   context.Context
	lease Lease
	err   error // the first failed transaction of this Do
}

var _ i2c.Bus = (*Handle)(nil)

// NewHandle gives the handle of addr on bus.
func NewHandle(bus Bus, addr uint16) *Handle { return &Handle{bus: bus, addr: addr} }

// Address is the only address the handle reaches.
func (h *Handle) Address() uint16 { return h.addr }

// String is BUS@ADDRESS.
func (h *Handle) String() string { return fmt.Sprintf("%s@0x%02x", h.bus.Name(), h.addr) }

// SetSpeed refuses: a bus has one speed, and it is not the chip's business.
func (h *Handle) SetSpeed(physic.Frequency) error {
	return fmt.Errorf("bus %s: the speed of a bus is set for all its chips, by the board's configuration", h.bus.Name())
}

// Conn is the handle as a connection to its one chip.
func (h *Handle) Conn() conn.Conn { return &i2c.Dev{Bus: h, Addr: h.addr} }

// Do runs f, a sequence of transactions, under ctx and one lease of the bus.
// When f fails because a transaction did, the error wraps that of the bus,
// which periph's drivers lose on the way (they format with %v).
func (h *Handle) Do(ctx context.Context, f func() error) error {
	lease := leaseOf(h.bus)
	defer lease.End()
	h.mu.Lock()
	h.ctx, h.lease, h.err = ctx, lease, nil
	h.mu.Unlock()
	err := f()
	h.mu.Lock()
	defer h.mu.Unlock()
	cause := h.err
	if h.ctx == ctx { // a later Do may have begun while f was late
		h.ctx = nil
	}
	if err == nil || cause == nil || errors.Is(err, cause) {
		return err
	}
	return &txError{text: err.Error(), cause: cause}
}

// txError has the driver's sentence and the bus's cause.
type txError struct {
	text  string
	cause error
}

func (e *txError) Error() string { return e.text }
func (e *txError) Unwrap() error { return e.cause }

// Rest waits for d and lets others have the bus meanwhile: for conversions. It
// ends early, with ErrTimeout, when the context of Do does.
func (h *Handle) Rest(d time.Duration) error {
	ctx, lease := h.turn()
	if ctx == nil {
		return fmt.Errorf("%s: rest outside of a read", h)
	}
	lease.Rest()
	sleep(ctx, d)
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", h, ErrTimeout)
	}
	return nil
}

func (h *Handle) turn() (context.Context, Lease) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ctx, h.lease
}

// Tx makes one transaction, with the retries that its kind of failure allows.
func (h *Handle) Tx(addr uint16, w, r []byte) error {
	if addr != h.addr {
		return fmt.Errorf("%s: address 0x%02x is not this handle's", h, addr)
	}
	ctx, lease := h.turn()
	if ctx == nil {
		return fmt.Errorf("%s: transaction outside of a read", h)
	}
	err := h.attempt(ctx, lease, w, r)
	if err == nil {
		return nil
	}
	h.mu.Lock()
	if h.ctx == ctx && h.err == nil {
		h.err = err
	}
	h.mu.Unlock()
	return err
}

func (h *Handle) attempt(ctx context.Context, lease Lease, w, r []byte) error {
	for try := 0; ; try++ {
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w", h, ErrTimeout)
		}
		err := lease.Tx(ctx, h.addr, w, r)
		if err == nil {
			return nil
		}
		waits := retryWaits[CauseOf(err)]
		if try >= len(waits) {
			return fmt.Errorf("%s: %w", h, err)
		}
		sleep(ctx, waits[try])
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
