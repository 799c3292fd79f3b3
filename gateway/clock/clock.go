// Package clock tells the time, and whether to trust it.
//
// A board without a battery clock starts in the past. Shells read the time
// here and hand it on as an argument; pure rooms never import this package.
// Timers come from the standard library: tests fake `time` itself.
package clock

import "time"

// Clock is the wall clock, the time since boot, and the trust in the first.
// All methods may be called from any goroutine and never block.
type Clock interface {
	// Now is the wall clock's time.
	Now() time.Time
	// Up is the time since the host booted; it counts through suspend and
	// never steps.
	Up() time.Duration
	// Boot names this boot of the host with 6 characters.
	Boot() string
	// Synced reports whether the kernel calls the wall clock synchronised.
	Synced() bool
}

// Fixed is a clock for tests: it stands where it was put.
type Fixed struct {
	Wall      time.Time
	Since     time.Duration
	BootID    string
	Unsynched bool
}

// Now is the set wall time.
func (f Fixed) Now() time.Time { return f.Wall }

// Up is the set time since boot.
func (f Fixed) Up() time.Duration { return f.Since }

// Boot is the set boot id.
func (f Fixed) Boot() string { return f.BootID }

// Synced is true unless Unsynched is set.
func (f Fixed) Synced() bool { return !f.Unsynched }
