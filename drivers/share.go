package drivers

import "context"

// Priority orders those who wait for a bus (drivers.md 4.1).
type Priority int

// The priorities, the lowest first.
const (
	Poll        Priority = iota // a scheduled read
	ByHand                      // a scan or a read that a person waits for
	OutputWrite                 // an output behind the bus changes
)

// priorityKey is the context's key of a Priority.
type priorityKey struct{}

// WithPriority gives the transactions under ctx a priority. It travels with the
// deadline, because both belong to the request and not to the chip.
func WithPriority(ctx context.Context, p Priority) context.Context {
	return context.WithValue(ctx, priorityKey{}, p)
}

// PriorityOf is the priority of the transactions under ctx; Poll when nobody
// gave one.
func PriorityOf(ctx context.Context) Priority {
	p, _ := ctx.Value(priorityKey{}).(Priority)
	return p
}

// Shared is a Bus whose users take turns. A Handle takes one lease for each Do,
// so that the transactions of one chip follow each other.
type Shared interface {
	Bus
	// Lease begins a sequence of transactions. It takes no turn yet and never
	// blocks.
	Lease() Lease
	// Epoch counts how often the hardware behind the bus was opened. A device
	// that was set up in another epoch may have lost its supply since.
	Epoch() uint64
}

// Lease is a sequence of transactions of one user. From its first transaction
// on nobody goes in between, unless it pauses or takes longer than a bus may be
// held. It belongs to one goroutine at a time.
type Lease interface {
	// Tx is that of Bus, within the lease.
	Tx(ctx context.Context, addr uint16, w, r []byte) error
	// Rest lets others go in until the next Tx: a conversion is waited for
	// outside the lease.
	Rest()
	// End gives the turn to the next. A Tx after it is a sequence of its own.
	End()
}

// single is the lease of a bus without turns.
type single struct{ Bus }

func (single) Rest() {}
func (single) End()  {}

// leaseOf begins a sequence on any bus.
func leaseOf(b Bus) Lease {
	if s, ok := b.(Shared); ok {
		return s.Lease()
	}
	return single{b}
}

// SPIMode is the clock's polarity and phase of an SPI chip, 0 to 3.
type SPIMode int

// modeKey is the context's key of an SPIMode.
type modeKey struct{}

// WithSPIMode gives the transactions under ctx the mode of their chip; chips of
// one SPI bus may differ.
func WithSPIMode(ctx context.Context, m SPIMode) context.Context {
	return context.WithValue(ctx, modeKey{}, m)
}

// SPIModeOf is the mode of the transactions under ctx; 0 when nobody gave one.
func SPIModeOf(ctx context.Context) SPIMode {
	m, _ := ctx.Value(modeKey{}).(SPIMode)
	return m
}
