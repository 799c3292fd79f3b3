package pace

import "time"

// offsetJump is how far the offset may move during an outage before edit times
// are in doubt (shadow-sync.md 2.2).
const offsetJump = 5 * time.Second

// Offset is the upstream clock minus the local one, measured on each
// connection anew and never stored. It is a value.
type Offset struct {
	amount   time.Duration
	known    bool
	measured bool // on this connection
	jumped   bool // since the connection before
	set      bool // the local clock was right at some time since boot
}

// Connect begins a connection.
func (o Offset) Connect() Offset {
	o.measured, o.jumped = false, false
	return o
}

// Measure takes the upstream's time of an answer that has just come; synced
// tells whether the local clock is right.
func (o Offset) Measure(upstream, local time.Time, synced bool) Offset {
	amount := upstream.Sub(local)
	if !o.measured && o.known {
		o.jumped = (amount - o.amount).Abs() > offsetJump
	}
	o.amount, o.known, o.measured, o.set = amount, true, true, o.set || synced
	return o
}

// Amount is the offset as last measured.
func (o Offset) Amount() time.Duration { return o.amount }

// Doubtful reports whether edit times cannot be compared now.
func (o Offset) Doubtful() bool { return !o.measured || o.jumped || !o.set }
